"""What a migration would do, and how much care it needs; decided from the files, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from dirac.core.errors import ConflictError, InternalError
from dirac.db.revisions import Lines, Phase, Revision, State

Which = Literal["expand", "contract", "all"]
Risk = Literal["safe", "careful", "breaking"]

_RISKS = ("safe", "careful", "breaking")
_TAKES_AWAY = frozenset({"drop_table", "drop_column", "rename_table"})
_NEUTRAL = frozenset({"f", "batch_alter_table", "get_bind", "get_context"})


class Step(msgspec.Struct, frozen=True):
    """One revision that would be applied.

    Attributes:
        revision: Its name.
        line: The line it belongs to.
        phase: `expand` or `contract`.
        risk: `safe` for new tables and columns that may be empty; `careful` for what rewrites or locks a
            table that has data; `breaking` for what older code cannot live with.
        summary: What it does, in its own words.
    """

    revision: str
    line: str
    phase: Phase
    risk: Risk
    summary: str


class Outcome(msgspec.Struct, frozen=True):
    """What a migration did.

    Attributes:
        changed: Whether anything was written.
        applied: The revisions that were applied, in order.
        pending_contract: Contract revisions that are left for later.
    """

    changed: bool
    applied: list[str]
    pending_contract: list[str]


def choose(state: State, known: Lines, which: Which) -> list[Revision]:
    """Return the revisions that a phase applies, in order.

    Args:
        state: What the database says.
        known: The lines of the code.
        which: The phase; `all` brings the database to this version in one go.

    Raises:
        ConflictError: The phases cannot be kept apart, come in the wrong order, or the database no longer
            supports this version.
    """
    if any(not state.supports(line) for line in known.values()):
        raise ConflictError(
            "the database is newer than this version and no longer supports it",
            hint="Install the newer version again, or restore a backup from before its contract migrations",
        )
    chosen: list[Revision] = []
    for line in known.values():
        missing = state.missing(line)
        if which == "all":
            chosen += missing
            continue
        expanding = _leading(missing)
        contracting = missing[len(expanding) :]
        if late := [one.id for one in contracting if one.phase == "expand"]:
            raise ConflictError(
                f"{late[0]} adds to the database, but comes after {contracting[0].id}, which takes away what "
                "the present version may need: too many releases were skipped for an upgrade in phases",
                hint="Upgrade to the release in between first; or stop all services and use --phase all",
            )
        if which == "expand":
            chosen += expanding
        elif expanding:
            raise ConflictError(
                f"{expanding[0].id} has to come before contract migrations",
                hint="Run `dirac-server migrate --phase expand` and bring all services to this version first",
            )
        else:
            chosen += contracting
    return chosen


def promises(state: State, known: Lines, chosen: Sequence[Revision]) -> dict[str, str | None]:
    """Return what the database has to promise, by line, where it does not already.

    Args:
        state: What the database says.
        known: The lines of the code.
        chosen: Revisions that are about to be applied.
    """
    due: dict[str, str | None] = {}
    for name, line in known.items():
        if state.ahead(line):
            continue  # whoever brought it there knows better
        reached = (state.applied(line) or 0) + sum(one in chosen for one in line)
        contracts = [one.id for one in line[:reached] if one.phase == "contract"]
        promise = contracts[-1] if contracts else None
        if name not in state.promises or state.promises[name] != promise:
            due[name] = promise
    return due


def settled(state: State, known: Lines, which: Which) -> bool:
    """Tell whether a phase has nothing to do."""
    chosen = choose(state, known, which)
    return not chosen and not promises(state, known, chosen)


def pending_contract(state: State, known: Lines) -> list[str]:
    """Return the contract revisions that the database does not have."""
    return [one.id for line in known.values() for one in state.missing(line) if one.phase == "contract"]


def _leading(missing: Sequence[Revision]) -> Sequence[Revision]:
    first = next((i for i, one in enumerate(missing) if one.phase == "contract"), len(missing))
    return missing[:first]


def step(revision: Revision) -> Step:
    """Describe a revision.

    Raises:
        InternalError: It names a risk that does not exist.
    """
    tree = ast.parse(revision.file.read_text())
    risk = revision.risk or ("breaking" if revision.phase == "contract" else derived_risk(tree))
    if risk not in _RISKS:
        raise InternalError(f"{revision.file}: no risk {risk!r}", hint=f"Risks are {', '.join(_RISKS)}")
    summary = (ast.get_docstring(tree) or "").splitlines()
    return Step(
        revision=revision.id,
        line=revision.line,
        phase=revision.phase,
        risk=risk,  # type: ignore[arg-type]  # one of _RISKS
        summary=summary[0] if summary else "",
    )


def derived_risk(tree: ast.Module) -> Risk:
    """Derive the risk of a revision from the operations in its `upgrade`; what is not known needs care."""
    body = next(
        (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"), None
    )
    calls = list(_operations(body)) if body is not None else []
    made = {_text(call, 0) for name, call in calls if name == "create_table"}
    names = {name for name, _ in calls}
    if names & _TAKES_AWAY:
        return "breaking"
    for name, call in calls:
        new_index = name == "create_index" and _text(call, 1) in made
        may_be_empty = name == "add_column" and _may_be_empty(call)
        if not (name == "create_table" or name in _NEUTRAL or new_index or may_be_empty):
            return "careful"
    return "safe"


def _operations(body: ast.FunctionDef) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls on Alembic's `op`, and on what `op.batch_alter_table` is bound to."""
    owners = {"op"}
    for node in ast.walk(body):
        if isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            owners.add(node.optional_vars.id)
    for node in ast.walk(body):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in owners:
                yield node.func.attr, node


def _text(call: ast.Call, position: int) -> object:
    if len(call.args) <= position or not isinstance(call.args[position], ast.Constant):
        return None
    return call.args[position].value  # type: ignore[attr-defined]  # an ast.Constant


def _may_be_empty(call: ast.Call) -> bool:
    """Tell whether a new column needs nothing from rows that are there."""
    column = next((arg for arg in call.args if isinstance(arg, ast.Call)), None)
    if column is None:
        return False
    options = {one.arg: one.value for one in column.keywords}
    nullable = options.get("nullable")
    return not (isinstance(nullable, ast.Constant) and nullable.value is False)
