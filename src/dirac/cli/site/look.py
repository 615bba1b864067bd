"""Looking at sites and their secrets, without asking their hosts."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, print_json, print_table
from dirac.cli.site.places import DistributionOption, Site, SiteName, find_distribution, find_site, sites
from dirac.core.errors import DiracError, InvalidInputError

_SITES = {
    "name": "SITE",
    "hosts": "HOSTS",
    "production": "PRODUCTION",
    "last": "LAST RUN",
    "result": "RESULT",
    "directory": "DIRECTORY",
}
_SECRETS = {"name": "SECRET", "kind": "KIND", "age": "AGE", "state": "", "groups": "NEEDED BY"}


@command(
    "dirac site list",
    "dirac site list --json  # a list of objects: name, hosts, production, last, result, directory",
)
def list_sites(distribution: DistributionOption = None, as_json: Json = False) -> None:
    """List the sites of this checkout and those that were made elsewhere, with their last run."""
    rows = [_row(site) for site in sites(find_distribution(distribution))]
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "production": "yes" if row["production"] else ""} for row in rows]
    print_table(shown, _SITES, nothing="There are no sites yet: dirac site new NAME")


def _row(site: Site) -> dict[str, Any]:
    from dirac.cli.site.groups import hosts_of

    row: dict[str, Any] = {"name": site.name, "directory": str(site.directory), "last": None, "result": None}
    try:
        row |= {"hosts": len(hosts_of(site)), "production": site.is_production}
    except DiracError as error:
        row |= {"hosts": None, "production": None, "result": error.message.splitlines()[0]}
    for path in sorted(site.logs.glob("*.json"), reverse=True)[:1]:
        with suppress(OSError, ValueError):
            report = json.loads(path.read_bytes())
            row["last"] = f"{report['verb']}, {report['started'].replace('T', ' ').removesuffix('Z')}"
            row["result"] = row["result"] or ("ok" if report["ok"] else "failed")
    return row


@command(
    "dirac site secrets observatory",
    "dirac site secrets observatory --reveal vault_grafana_admin_password  # asks first",
    "dirac site secrets observatory --json  # objects: name, kind, made, age, state, groups, purpose",
)
def secrets(
    site: SiteName,
    reveal: Annotated[
        str | None, typer.Option("--reveal", metavar="SECRET", help="Print the value of this one.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a value is shown.")] = False,
    distribution: DistributionOption = None,
    as_json: Json = False,
) -> None:
    """List the secrets of a site with their ages; values are shown only one by one, if you insist."""
    from dirac.cli.site.secrets.vault import vault_of

    place = find_site(site, distribution)
    values = vault_of(place).read()
    if reveal is not None:
        _reveal(values, reveal, yes=yes, as_json=as_json)
        return
    rows = secret_rows(values, datetime.now(UTC))
    if as_json:
        print_json(rows)
    else:
        print_table(
            rows, _SECRETS, nothing=f"{site} has no secrets yet; `dirac site deploy {site}` makes them"
        )


def secret_rows(values: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
    """Return what may be told of the secrets of a site."""
    from dirac.cli.site.secrets.table import SECRETS, previous
    from dirac.cli.site.secrets.vault import MADE

    rows = []
    for secret in SECRETS.values():
        for name in secret.names:
            if not values.get(name):
                continue
            made = (values.get(MADE) or {}).get(name)
            days = (now - datetime.fromisoformat(made)).days if made else None
            rows.append(
                {
                    "name": name,
                    "kind": str(secret.kind),
                    "made": made,
                    "age": None if days is None else f"{days} d",
                    "state": "being rotated" if previous(name) in values else "",
                    "groups": list(secret.groups),
                    "purpose": secret.purpose,
                }
            )
    return rows


def _reveal(values: dict[str, Any], name: str, *, yes: bool, as_json: bool) -> None:
    from dirac.cli.site.secrets.table import SECRETS

    known = {one for secret in SECRETS.values() for one in secret.names}
    if name not in values or not name.startswith("vault_") or not isinstance(values[name], str):
        present = ", ".join(one for one in values if one in known)
        raise InvalidInputError(
            f"the site has no secret {name!r}", where="--reveal", hint=f"It has {present}"
        )
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise InvalidInputError("there is nobody to ask", hint="Say --yes to print the value")
        typer.confirm(f"Print the value of {name} here?", abort=True, err=True)
    if as_json:
        print_json({"name": name, "value": values[name]})
    else:
        print(values[name].rstrip("\n"))
