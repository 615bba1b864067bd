"""Commands about background work, for operators."""

from __future__ import annotations

from typing import Annotated

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, client, print_json, print_table
from dirac.core.errors import InvalidInputError

_STATES = ("Pending", "Sent", "Running", "Parked", "Done")
_COLUMNS = {
    "id": "ID",
    "name": "TASK",
    "state": "STATE",
    "tries": "TRIES",
    "due": "DUE",
    "error": "LAST ERROR",
}


@command(
    "dirac task list  # what was given up and waits for you",
    "dirac task list --state pending --limit 20",
    "dirac task list --json  # a list of objects: id, name, state, tries, created, due, error",
)
def list_tasks(
    ctx: typer.Context,
    state: Annotated[
        str, typer.Option("--state", "-s", metavar="STATE", help=f"One of {', '.join(_STATES)}.")
    ] = "Parked",
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, max=1000, help="Rows at most.")
    ] = 100,
    as_json: Json = False,
) -> None:
    """List background work in one state."""
    if state.title() not in _STATES:
        raise InvalidInputError(f"there is no state {state!r}", hint=f"There are {', '.join(_STATES)}")
    with client(ctx) as dirac:
        tasks = dirac.tasks.search(state=state.title(), limit=limit)
    if as_json:
        print_json(tasks)
        return
    rows = [{name: getattr(task, name) for name in _COLUMNS} for task in tasks]
    print_table(rows, _COLUMNS, nothing=f"No task is {state.lower()}.")


@command(
    "dirac task retry 0198c0de-7b1a-7c3e-9f00-000000000001",
    "dirac task retry ID ... --json  # {retried: [ID, ...]}",
)
def retry(
    ctx: typer.Context,
    ids: Annotated[
        list[str], typer.Argument(metavar="IDS", help="The tasks, as `dirac task list` names them.")
    ],
    as_json: Json = False,
) -> None:
    """Give parked tasks another series of tries."""
    with client(ctx) as dirac:
        for entry in ids:
            dirac.tasks.retry(entry)
    if as_json:
        print_json({"retried": ids})
    else:
        print(f"{len(ids)} task{'s' if len(ids) > 1 else ''} will be tried again.")


@command(
    "dirac task echo --wait 30  # fails with the reason if it is not done in that time",
    "dirac task echo --json  # an object: id, name, state, tries, created, due, error",
)
def echo(
    ctx: typer.Context,
    wait: Annotated[
        float, typer.Option("--wait", "-w", metavar="SECONDS", min=0, help="Wait until it is done.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Have work done that does nothing, to see that background work is done."""
    with client(ctx) as dirac:
        task = dirac.tasks.echo(wait=wait)
    if as_json:
        print_json(task)
    else:
        print_table([{name: getattr(task, name) for name in _COLUMNS}], _COLUMNS)
