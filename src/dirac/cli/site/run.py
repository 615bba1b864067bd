"""``dirac site VERB``: the verbs that only run their playbook."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.output import Json
from dirac.cli.site import playbook
from dirac.cli.site.confirm import confirm
from dirac.cli.site.places import DistributionOption, Site, SiteName, find_site
from dirac.cli.site.playbook import Options, Outcome, finish
from dirac.cli.site.verbs import VERBS, Verb
from dirac.core.errors import InvalidInputError

Limit = Annotated[
    str | None,
    typer.Option("--limit", "-l", metavar="HOSTS", help="Only these hosts or groups, with commas."),
]
Check = Annotated[bool, typer.Option("--check", help="Only find out what would change.")]
Diff = Annotated[bool, typer.Option("--diff", help="Show the lines of files that change.")]
Extra = Annotated[
    list[str] | None,
    typer.Option("-e", "--extra-vars", metavar="NAME=VALUE", help="Set a variable of Ansible (repeatable)."),
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose", "-v", count=True, show_default=False, help="Let Ansible tell more (repeatable)."
    ),
]
Confirm = Annotated[
    str | None,
    typer.Option("--confirm", metavar="SITE", help="The site's name once more, where nobody can be asked."),
]
More = Annotated[
    list[str] | None,
    typer.Argument(metavar="ANSIBLE_OPTIONS", help="After --: options for ansible-playbook."),
]


def passed(words: Sequence[str] | None) -> list[str]:
    """Return the words after ``--``, which are for ``ansible-playbook``.

    Raises:
        InvalidInputError: They are no options; Ansible would take a stray word for a playbook.
    """
    found = list(words or ())
    if found and not found[0].startswith("-"):
        raise InvalidInputError(
            f"what is {found[0]!r} for?", hint="Options for ansible-playbook come after --: -- --tags web"
        )
    return found


def execute(
    site: Site,
    verb: Verb,
    options: Options,
    *,
    confirmed: str | None = None,
    variables: Mapping[str, Any] | None = None,
    as_json: bool = False,
) -> Outcome:
    """Run the playbook of a verb for a site, with all the secrets it needs.

    Args:
        site: The site.
        verb: The verb.
        options: What is handed on.
        confirmed: The site's name, if it was typed.
        variables: Variables of Ansible that the verb itself sets.
        as_json: Standard output is for the document.
    """
    from dirac.cli.site.secrets import ready

    site.distribution.playbook(verb.name)
    given = dict(variables or {}) | ({"confirm": confirmed} if confirmed else {})
    arguments = [*verb.arguments, *(("-e", json.dumps(given)) if given else ())]
    if not verb.adds_secrets:
        return playbook.run(site, verb.name, options, arguments=arguments, quiet=as_json)
    if options.check or "--check" in verb.arguments:
        with ready.borrowed(site) as borrowed:
            return playbook.run(site, verb.name, options, arguments=[*arguments, *borrowed], quiet=as_json)
    added = ready.add(site)
    if added:
        print(f"New secrets for {site.name}: {', '.join(added)}", file=sys.stderr)
    return playbook.run(site, verb.name, options, arguments=arguments, quiet=as_json)


def _looking(name: str) -> Callable[..., None]:
    """Make the command of a verb that changes nothing."""
    verb = VERBS[name]

    @command(*verb.examples)
    def run(
        site: SiteName,
        more: More = None,
        limit: Limit = None,
        diff: Diff = False,
        extra: Extra = None,
        verbose: Verbose = 0,
        distribution: DistributionOption = None,
        as_json: Json = False,
    ) -> None:
        options = Options(limit, False, diff, extra or (), verbose, passed(more))
        finish(execute(find_site(site, distribution), verb, options, as_json=as_json), as_json=as_json)

    run.__doc__ = verb.help
    return run


def _changing(name: str) -> Callable[..., None]:
    """Make the command of a verb that changes something."""
    verb = VERBS[name]

    @command(*verb.examples)
    def run(
        site: SiteName,
        more: More = None,
        limit: Limit = None,
        check: Check = False,
        diff: Diff = False,
        extra: Extra = None,
        verbose: Verbose = 0,
        confirm_name: Confirm = None,
        distribution: DistributionOption = None,
        as_json: Json = False,
    ) -> None:
        place = find_site(site, distribution)
        confirmed = confirm(place, verb, confirm_name, check=check, as_json=as_json)
        options = Options(limit, check, diff, extra or (), verbose, passed(more))
        finish(execute(place, verb, options, confirmed=confirmed, as_json=as_json), as_json=as_json)

    run.__doc__ = verb.help
    return run


plan = _looking("plan")
status = _looking("status")
verify = _looking("verify")
doctor = _looking("doctor")
backup = _looking("backup")
deploy = _changing("deploy")
reconfigure = _changing("reconfigure")
upgrade = _changing("upgrade")
rollback = _changing("rollback")
remove = _changing("remove")


@command(*VERBS["restore"].examples)
def restore(
    site: SiteName,
    more: More = None,
    source: Annotated[
        str,
        typer.Option("--from", metavar="BACKUP", help="A backup as `backup` named it, or `latest`."),
    ] = "latest",
    limit: Limit = None,
    check: Check = False,
    diff: Diff = False,
    extra: Extra = None,
    verbose: Verbose = 0,
    confirm_name: Confirm = None,
    distribution: DistributionOption = None,
    as_json: Json = False,
) -> None:
    """Restore."""
    verb, place = VERBS["restore"], find_site(site, distribution)
    confirmed = confirm(place, verb, confirm_name, check=check, as_json=as_json)
    options = Options(limit, check, diff, extra or (), verbose, passed(more))
    variables = {"site_restore_from": source}
    finish(
        execute(place, verb, options, confirmed=confirmed, variables=variables, as_json=as_json),
        as_json=as_json,
    )


restore.__doc__ = VERBS["restore"].help


@command(*VERBS["rotate-secrets"].examples)
def rotate_secrets(
    site: SiteName,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECRET",
            help="Secrets by name; otherwise all that can be renewed without harm.",
        ),
    ] = None,
    extra: Extra = None,
    verbose: Verbose = 0,
    confirm_name: Confirm = None,
    distribution: DistributionOption = None,
    as_json: Json = False,
) -> None:
    """Rotate."""
    from dirac.cli.site.secrets import rotate

    verb, place = VERBS["rotate-secrets"], find_site(site, distribution)
    words = names or []
    first = next((number for number, word in enumerate(words) if word.startswith("-")), len(words))
    options = Options(None, False, False, extra or (), verbose, passed(words[first:]))
    confirmed = confirm(place, verb, confirm_name, check=False, as_json=as_json)
    begun = rotate.begin(place, words[:first])
    variables = {"site_rotate": begun}
    outcome = execute(place, verb, options, confirmed=confirmed, variables=variables, as_json=as_json)
    rotate.settle(place, begun, outcome, as_json=as_json)
    finish(outcome, as_json=as_json)


rotate_secrets.__doc__ = VERBS["rotate-secrets"].help
