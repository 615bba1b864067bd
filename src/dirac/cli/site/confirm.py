"""Asking before something is changed."""

from __future__ import annotations

import sys

import typer

from dirac.cli.site.places import Site
from dirac.cli.site.verbs import Risk, Verb
from dirac.core.errors import InvalidInputError


def confirm(site: Site, verb: Verb, given: str | None, *, check: bool, as_json: bool) -> str | None:
    """Let the site's name be typed where that is needed; returns the name if it was, else None.

    Verbs that destroy always ask; all that change ask if the site is a production site. Check mode never.

    Raises:
        InvalidInputError: Another name was typed, or there is nobody to ask.
    """
    needed = verb.risk is Risk.DESTROYS or (verb.risk is Risk.CHANGES and site.is_production)
    if check or (not needed and given is None):
        return None
    if given is None:
        if as_json or not sys.stdin.isatty():
            raise InvalidInputError(
                f"{verb.name} of {site.name} has to be confirmed, and there is nobody to ask",
                hint=f"If you are sure: --confirm {site.name}",
            )
        reason = "can lose something" if verb.risk is Risk.DESTROYS else "changes a production site"
        given = typer.prompt(f"{verb.name} {reason}. To go on, type the site's name ({site.name})", err=True)
    if given != site.name:
        raise InvalidInputError(
            f"{given!r} is not the name of the site",
            where="--confirm",
            hint=f"It is {site.name}. Nothing was done",
        )
    return given
