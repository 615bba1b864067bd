"""Writing the files of a site from the templates in ``inventories/templates``."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dirac.cli.site.layout import Answers, Certificates
from dirac.cli.site.places import Distribution, Site, remember
from dirac.cli.site.secrets.keep import complete, missing
from dirac.cli.site.secrets.vault import make_key, vault_of
from dirac.core.errors import DiracError, InvalidInputError


def write_site(site: Site, answers: Answers) -> list[Path]:
    """Write the files of a new site, all or none; returns where they are.

    Raises:
        InvalidInputError: There is something at that place already.
        DiracError: They cannot be written.
    """
    if site.directory.exists():
        raise InvalidInputError(
            f"{site.directory} is there already",
            hint=f"Edit its files, or choose another name. To begin anew: rm -r {site.directory}",
        )
    make_key(site)
    try:
        site.directory.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=site.directory.parent, prefix=f".{site.name}-"))
    except OSError as error:
        raise DiracError(f"{site.directory} cannot be made: {error.strerror}") from None
    try:
        _fill(replace(site, directory=place), answers)
        place.chmod(0o755)
        place.rename(site.directory)
    except OSError as error:
        raise DiracError(f"{site.directory} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
    remember(site)
    return [path for path in sorted(site.directory.rglob("*")) if path.is_file()]


def _fill(site: Site, answers: Answers) -> None:
    groups = answers.groups()
    values = {
        "site": answers,
        "hosts": answers.all_hosts(),
        "groups": groups,
        "key_file": _short(site.key_file),
    }
    site.secrets_file.parent.mkdir(parents=True)
    site.hosts_file.write_text(_render(site.distribution, "hosts.yml.j2", values))
    site.settings_file.write_text(_render(site.distribution, "site.yml.j2", values))
    for vo in answers.vos:
        write_vo(site, vo, {answers.admin: [f"{vo}_user", f"{vo}_admin"]})
    if answers.certificates is Certificates.GIVEN:
        (site.directory / "certificates").mkdir()
    wanted = missing({}, groups, own_ca=answers.certificates is Certificates.OWN)
    vault_of(site).write(complete({}, wanted, site.name, datetime.now(UTC)))


def write_vo(site: Site, vo: str, users: Mapping[str, Sequence[str]], support: str = "") -> Path:
    """Write the file of a VO; one that is there already is not touched.

    Raises:
        InvalidInputError: There is one already.
    """
    path = vo_file(site, vo)
    values = {"vo": vo, "users": users, "support": support or f"Ask the operators of {site.name}"}
    text = _render(site.distribution, "vo.yml.j2", values)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidInputError(f"{path} is there already", hint="Edit it") from None
    return path


def vo_file(site: Site, vo: str) -> Path:
    """Return the file of a VO."""
    return site.directory / "vos" / f"{vo}.yml"


def _render(distribution: Distribution, name: str, values: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(  # noqa: S701 - YAML, no HTML; what goes in has been checked
        loader=FileSystemLoader(distribution.inventories / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return templates.get_template(name).render(values)


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
