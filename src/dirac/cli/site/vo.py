"""``dirac site add-vo``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, print_json
from dirac.cli.site.confirm import confirm
from dirac.cli.site.layout import parse_user, parse_vo
from dirac.cli.site.places import DistributionOption, SiteName, find_site
from dirac.cli.site.playbook import Options, finish
from dirac.cli.site.run import Check, Confirm, Diff, Extra, More, Verbose, execute, passed
from dirac.cli.site.verbs import VERBS
from dirac.core.errors import InvalidInputError

_VERB = VERBS["add-vo"]
_Names = list[str] | None


@command(*_VERB.examples)
def add_vo(
    site: SiteName,
    vo: Annotated[str, typer.Argument(metavar="VO", help="The name of the virtual organisation.")],
    more: More = None,
    users: Annotated[_Names, typer.Option("--user", metavar="USER", help="A member (repeatable).")] = None,
    admins: Annotated[
        _Names,
        typer.Option("--admin", metavar="USER", help="A member who administers its jobs (repeatable)."),
    ] = None,
    support: Annotated[str, typer.Option(metavar="TEXT", help="Whom its members may ask.")] = "",
    apply: Annotated[
        bool, typer.Option("--apply/--no-apply", help="Run the playbook, or only write the file.")
    ] = True,
    check: Check = False,
    diff: Diff = False,
    extra: Extra = None,
    verbose: Verbose = 0,
    confirm_name: Confirm = None,
    distribution: DistributionOption = None,
    as_json: Json = False,
) -> None:
    """Add."""
    from dirac.cli.site.write import vo_file, write_vo

    place = find_site(site, distribution)
    path = vo_file(place, parse_vo(vo))
    members = {parse_user(user): [f"{vo}_user"] for user in users or ()}
    members |= {parse_user(user): [f"{vo}_user", f"{vo}_admin"] for user in admins or ()}
    is_there = path.exists()
    if is_there and (members or support):
        raise InvalidInputError(
            f"{path} is there already", hint=f"Edit it, then: dirac site add-vo {site} {vo}, without options"
        )
    confirmed = confirm(place, _VERB, confirm_name, check=check or not apply, as_json=as_json)
    if not is_there:
        members = members or _ask_members(vo, silent=as_json or not sys.stdin.isatty())
        write_vo(place, vo, members, support)
        print(f"Written: {path}", file=sys.stderr)
    if not apply:
        if as_json:
            print_json({"site": site, "vo": vo, "file": str(path)})
        return
    options = Options(None, check, diff, extra or (), verbose, passed(more))
    variables = {"site_vo": vo}
    outcome = execute(place, _VERB, options, confirmed=confirmed, variables=variables, as_json=as_json)
    finish(outcome, as_json=as_json)


add_vo.__doc__ = _VERB.help


def _ask_members(vo: str, *, silent: bool) -> dict[str, list[str]]:
    if silent:
        raise InvalidInputError(f"who is in {vo}?", hint="Type --admin USER, and --user USER for each member")
    first = parse_user(str(typer.prompt("First member, who administers its jobs")).strip())
    others = str(typer.prompt("Other members, with commas", default="", show_default=False))
    found = {parse_user(user): [f"{vo}_user"] for user in others.replace(",", " ").split()}
    return found | {first: [f"{vo}_user", f"{vo}_admin"]}
