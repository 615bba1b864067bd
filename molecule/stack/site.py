"""Makes a site of the example: what docs/operator/example.md tells a person to do, done by a program.

``python molecule/stack/site.py DIRECTORY``; the site has the name of the directory.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import yaml

from dirac.cli.site.places import Site, find_distribution, remember
from tests.services import object_store, opensearch

ROOT = Path(__file__).resolve().parents[2]

# A lost run is noticed when its lease ends: in a test, soon.
SETTINGS = """\
site_name: {name}
site_address: dirac.example.org
object_store_program: {store}
opensearch_archive: {archive}
opensearch_archive_sha256: {checksum}
opensearch_heap_mb: 512
site_config:
  sites:
    DIRAC.Stack.org:
      computing_elements:
        nodes:
          type: node
          queues:
            default: {{max_running: 100, max_waiting: 100}}
  pilot:
    locations: [/opt/dirac/release]
    idle_seconds: 20
  workload:
    lease_seconds: 60
    heartbeat_seconds: 10
    max_reschedules: 20
"""


def make(directory: Path) -> Site:
    """Copy the example, leave out what cannot be had here, and say where programs are."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(ROOT / "inventories/example", directory)
    hosts = yaml.safe_load((directory / "hosts.yml").read_text())
    del hosts["all"]["children"]["grafana"]
    (directory / "hosts.yml").write_text(yaml.safe_dump(hosts, sort_keys=False))
    archive = opensearch.archive()
    site = Site(directory.name, directory, find_distribution(ROOT))
    site.settings_file.write_text(
        SETTINGS.format(
            name=site.name,
            store=object_store.program(),
            archive=archive,
            checksum=hashlib.sha256(archive.read_bytes()).hexdigest(),
        )
    )
    remember(site)
    return site


if __name__ == "__main__":
    sys.stdout.write(f"{make(Path(sys.argv[1])).directory}\n")
