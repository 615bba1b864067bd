"""Where things are: the checkout with the playbooks, the inventories of sites, keys, logs.

A site is a directory with ``hosts.yml``; its name is the directory's. It is ``inventories/NAME`` of the
checkout, or elsewhere if ``dirac site new --dir`` said so, which is remembered beside the site's key.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dirac.core.errors import DiracError, InvalidInputError

# Directories below inventories/ that are not sites.
_NOT_SITES = frozenset({"common", "templates"})
_LOGS_KEPT = 20
_name = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?").fullmatch

SiteName = Annotated[str, typer.Argument(metavar="SITE", help="The site's name: `dirac site list`.")]
DistributionOption = Annotated[
    Path | None,
    typer.Option(
        "--distribution",
        metavar="DIR",
        envvar="DIRAC_DISTRIBUTION",
        help="The checkout with the playbooks; otherwise the one you are in, or that this program is from.",
    ),
]


def check_name(name: str) -> str:
    """Return the name of a site.

    Raises:
        InvalidInputError: It is none.
    """
    if not _name(name) or name in _NOT_SITES:
        raise InvalidInputError(
            f"{name!r} cannot be the name of a site",
            hint="Use at most 32 small letters, digits and hyphens, for instance: observatory",
        )
    return name


@dataclass(frozen=True)
class Distribution:
    """A checkout with playbooks, roles and inventories."""

    root: Path

    @property
    def inventories(self) -> Path:
        """Where sites are."""
        return self.root / "inventories"

    @property
    def common(self) -> Path:
        """The inventory that all sites share: it declares the groups and wires the roles."""
        return self.inventories / "common"

    def playbook(self, name: str) -> Path:
        """Return the playbook of a verb.

        Raises:
            DiracError: This checkout has none.
        """
        path = self.root / "playbooks" / f"{name}.yml"
        if not path.is_file():
            raise DiracError(
                f"{self.root} has no playbooks/{name}.yml",
                hint="Is the checkout complete, and of the same version as this program? See: git status",
            )
        return path


@dataclass(frozen=True)
class Site:
    """One site."""

    name: str
    directory: Path
    distribution: Distribution

    @property
    def hosts_file(self) -> Path:
        """The file of its hosts."""
        return self.directory / "hosts.yml"

    @property
    def settings_file(self) -> Path:
        """The file of its settings."""
        return self.directory / "group_vars/all/site.yml"

    @property
    def secrets_file(self) -> Path:
        """The file of its secrets, encrypted."""
        return self.directory / "group_vars/all/secrets.yml"

    @property
    def key_file(self) -> Path:
        """The key of the secrets."""
        return key_directory() / f"{self.name}.key"

    @property
    def logs(self) -> Path:
        """Where the logs of its runs are."""
        below = self.distribution.root / ".log"
        if not os.access(below if below.exists() else self.distribution.root, os.W_OK):
            below = _base("XDG_STATE_HOME", ".local/state") / "dirac/log"
        return below / self.name

    def settings(self) -> dict[str, Any]:
        """Return what the files for all hosts say, without the secrets.

        Raises:
            InvalidInputError: A file cannot be read.
        """
        found: dict[str, Any] = {}
        folder = self.directory / "group_vars/all"
        files = sorted(folder.glob("*.yml")) if folder.is_dir() else [folder.with_suffix(".yml")]
        for path in files:
            if path.is_file() and path != self.secrets_file:
                found |= load_yaml(path)
        return found

    @property
    def is_production(self) -> bool:
        """Whether every change has to be confirmed (``site_production`` in its settings)."""
        return str(self.settings().get("site_production", False)).lower() in ("true", "yes", "on", "1")


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of Ansible as plain values; what its tags stand for is left out.

    Raises:
        InvalidInputError: It cannot be read, is no YAML or no mapping.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads tags such as ``!vault`` as nothing."""

    Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)
    try:
        found = yaml.load(path.read_text("utf-8"), Loader)  # noqa: S506 - it is a SafeLoader
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is no YAML: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path} has no names with values on its first level")
    return found


def find_distribution(given: Path | None) -> Distribution:
    """Find the checkout: the one that is named, else upward from here, else the one this program is from.

    Raises:
        InvalidInputError: There is none.
    """
    if given is not None:
        if not _is_distribution(given):
            raise InvalidInputError(
                f"{given} has no playbooks and inventories",
                where="--distribution",
                hint="Name the top directory of a checkout of this distribution",
            )
        return Distribution(given.resolve())
    here = Path.cwd()
    for place in (here, *here.parents, Path(__file__).resolve().parents[4]):
        if _is_distribution(place):
            return Distribution(place)
    raise InvalidInputError(
        "there is no checkout with playbooks here",
        hint="Go into a checkout of this distribution and type bin/dirac, or name it: --distribution DIR",
    )


def _is_distribution(place: Path) -> bool:
    return all((place / name).exists() for name in ("ansible.cfg", "playbooks/site.yml", "inventories"))


def find_site(name: str, given: Path | None) -> Site:
    """Find a site by its name.

    Raises:
        InvalidInputError: There is none of that name.
    """
    distribution = find_distribution(given)
    check_name(name)
    for site in sites(distribution):
        if site.name == name:
            return site
    known = ", ".join(site.name for site in sites(distribution)) or "none yet"
    raise InvalidInputError(
        f"there is no site {name!r}", hint=f"Sites are: {known}. Make one: dirac site new {name}"
    )


def sites(distribution: Distribution) -> Iterator[Site]:
    """Give all sites by name; one that was made elsewhere comes before one of the checkout."""
    places = {
        path.parent.name: path.parent
        for path in distribution.inventories.glob("*/hosts.yml")
        if path.parent.name not in _NOT_SITES
    }
    places |= {name: path for name, path in _remembered() if (path / "hosts.yml").is_file()}
    for name, path in sorted(places.items()):
        yield Site(name, path, distribution)


def _remembered() -> Iterator[tuple[str, Path]]:
    for path in key_directory().glob("*.json"):
        try:
            yield path.stem, Path(json.loads(path.read_bytes())["directory"])
        except (OSError, ValueError, KeyError, TypeError):
            continue


def remember(site: Site) -> None:
    """Remember where a site is, if that is not where all are."""
    if site.directory != site.distribution.inventories / site.name:
        path = make_key_directory() / f"{site.name}.json"
        path.write_text(json.dumps({"directory": str(site.directory)}) + "\n")


def key_directory() -> Path:
    """Return where the keys of sites are."""
    return _base("XDG_CONFIG_HOME", ".config") / "dirac/sites"


def make_key_directory() -> Path:
    """Make the directory of the keys; only its owner may look into it."""
    path = key_directory()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def times_file() -> Path:
    """Return the file with how long earlier runs took."""
    return _base("XDG_CACHE_HOME", ".cache") / "dirac/site-times.json"


def _base(variable: str, otherwise: str) -> Path:
    named = os.environ.get(variable, "")
    return Path(named) if named.startswith("/") else Path.home() / otherwise


def program_name() -> str:
    """Return how this program is typed here."""
    return "bin/dirac" if (Path.cwd() / "bin/dirac").is_file() else "dirac"


def prune_logs(directory: Path) -> None:
    """Remove all but the newest logs of a site, and the reports beside them; names begin with the time."""
    for path in sorted(directory.glob("*.log"))[:-_LOGS_KEPT]:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
