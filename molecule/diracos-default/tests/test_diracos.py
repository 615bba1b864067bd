# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of this source tree, and the release tree for pilots."""

from __future__ import annotations

import json
from typing import Any

ROOT = "/opt/dirac"


def test_programs_run_for_everybody(host: Any) -> None:
    for program in ("dirac", "dirac-server"):
        assert f"Usage: {program} " in host.check_output(
            f"runuser -u nobody -- {ROOT}/environments/current/bin/{program} --help"
        )


def test_environment_is_named_after_its_content(host: Any) -> None:
    name = host.file(f"{ROOT}/environments/current").linked_to.rpartition("/")[2]
    facts = json.loads(host.file(f"{ROOT}/environments/current/share/dirac/bundle.json").content_string)
    assert facts["name"] == name


def test_release_leads_to_the_environment(host: Any) -> None:
    source = f"{ROOT}/release/dirac/pro/$(uname -s)-$(uname -m)/diracosrc"
    assert host.check_output(f"bash -c '. {source} && command -v dirac-agent'").startswith(
        f"{ROOT}/environments/"
    )
    assert host.check_output(f"python3 {ROOT}/release/dirac/pilot/dirac-pilot.py --help")


def test_nobody_but_root_can_change_it(host: Any) -> None:
    assert host.check_output(f"find {ROOT} ! -type l -perm /022") == ""
