"""The repositories beside the configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json
from dirac.cli.report import paint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dirac.client import Client
    from dirac.systems.configuration.models import GitState

_PATIENCE = 120.0
_LOOK = 0.5


@command(
    "dirac config git",
    "dirac config git --json  # a list of objects: role, place, commit_id, version, problem, ...",
)
def git(ctx: typer.Context, as_json: Json = False) -> None:
    """Show where the repositories of the configuration stand, and what is in the way."""
    with client(ctx) as dirac:
        states = dirac.config.git()
    _show(states, as_json=as_json)


@command(
    "dirac config git-sync",
    "dirac config git-sync --rewritten  # take the source as it is, after a forced push",
    "dirac config git-sync --json  # as `git`, afterwards",
)
def git_sync(
    ctx: typer.Context,
    rewritten: Annotated[
        bool,
        typer.Option("--rewritten", help="Take the source as it is, although its branch was rewritten."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Take over new commits and send new versions now; it is done every minute, and with each version."""
    with client(ctx) as dirac:
        # Twice: the first to end may be one that was under way, and has not seen what is new.
        for wanted in (rewritten, False):
            states = _looked(dirac, rewritten=wanted)
    _show(states, as_json=as_json)


def _looked(dirac: Client, *, rewritten: bool) -> list[GitState]:
    """Have somebody look, and return where all stands once somebody has."""
    before = {state.role: state.runs for state in dirac.config.git()}
    dirac.config.sync_git(rewritten=rewritten)
    deadline, states = time.monotonic() + _PATIENCE, dirac.config.git()
    while any(state.runs <= before.get(state.role, 0) for state in states):
        if time.monotonic() > deadline:
            print(paint("It has not ended yet: dirac task list --state Pending", "yellow"))
            break
        time.sleep(_LOOK)
        states = dirac.config.git()
    return list(states)


def _show(states: Sequence[GitState], *, as_json: bool) -> None:
    if as_json:
        print_json(list(states))
    elif not states:
        print("There is none: [git.source] and [git.mirror] of the servers' settings name them.")
    else:
        for state in states:
            _show_one(state)
    if any(state.problem for state in states):
        raise typer.Exit(1)


def _show_one(state: GitState) -> None:
    print(f"{state.role}  {state.place}")
    if state.commit_id:
        print(f"  commit   {state.commit_id[:12]}, version {state.version}")
    looked = f"{state.time:%Y-%m-%d %H:%M:%S} UTC" if state.runs else "never"
    print(f"  looked   {looked}")
    for line in state.notes.splitlines():
        print(f"  note     {line}")
    for number, line in enumerate(state.problem.splitlines() or [""]):
        word = "problem" if number == 0 else ""
        if state.problem:
            print(paint(f"  {word:<8} {line}", "red"))
        else:
            print(paint("  all is well" if state.runs else "  not looked at yet", "green"))
