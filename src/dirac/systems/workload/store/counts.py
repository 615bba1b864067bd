"""Numbers of jobs by their attributes, without looking at jobs.

Triggers append every change of a counted column to `count_changes`, in the transaction that makes it; nobody
waits for anybody there. `fold` adds them up into `counts`. Together the two are exact at each commit: what is
read is one statement over both.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import CompoundSelect, and_, delete, func, literal, select, union_all

from dirac.core.search import MAX_PAGE, SummaryParams, leaves
from dirac.db.bounds import bounded
from dirac.db.search import LONGEST, Searchable
from dirac.db.transaction import Transaction
from dirac.systems.workload.policy import Visibility
from dirac.systems.workload.ports.work import COUNT_KINDS, JOB_ATTRIBUTES
from dirac.systems.workload.store.tables import COUNTED, count_changes, counts, jobs

_c, _d = counts.c, count_changes.c
_NAMES = {name: column for name, column in JOB_ATTRIBUTES.items() if column in COUNTED}
_OF_OWNER = ("vo", "owner_sub", "owner")
# The smallest first: a summary takes the first that has all that it is about. No kind has all columns, since
# that would be a good part of the jobs again.
_COLUMNS: tuple[tuple[str, ...], ...] = (
    ("vo", "owner_group", "status", "site", "job_type"),
    (*_OF_OWNER, "owner_group", "status", "site", "job_type"),
    (*_OF_OWNER, "status", "minor_status", "site"),
    (*_OF_OWNER, "owner_group", "status", "job_type", "job_group"),
)
KINDS: Mapping[str, tuple[str, ...]] = dict(zip(COUNT_KINDS, _COLUMNS, strict=True))
_VALUES = [_d[column] for column in COUNTED]
_PLACES = {kind: [COUNTED.index(column) for column in columns] for kind, columns in KINDS.items()}
_FOLDED, _CHANGED = (
    Searchable({name: table.c[column] for name, column in _NAMES.items()}, key="VO")
    for table in (counts, count_changes)
)
_LOCK = "lock"
HINT = "Counted are " + "; ".join(
    ", ".join(name for name, column in _NAMES.items() if column in columns) for columns in KINDS.values()
)
_BATCH = 5000


def kind_for(visible: Visibility, params: SummaryParams) -> str | None:
    """Return the kind of count that has all that a summary is about, None if there is none."""
    asked = [*params.grouping, *(str(leaf.parameter) for leaf in leaves(params.search))]
    if any(name not in _NAMES for name in asked):
        return None
    needed = {_NAMES[name] for name in asked} | ({"owner_sub"} if visible.owner_sub is not None else set())
    return next((kind for kind, columns in KINDS.items() if needed <= set(columns)), None)


async def summary(
    tx: Transaction, visible: Visibility, params: SummaryParams, kind: str
) -> list[dict[str, Any]]:
    """Count the visible jobs that fit, by the values of some parameters.

    Args:
        tx: Where to look.
        visible: Whose jobs.
        params: What to count; all that it names is in the kind.
        kind: Of `kind_for`.
    """
    names = list(dict.fromkeys(params.grouping))
    both = _both(tx.dialect, visible, params, kind, [_NAMES[name] for name in names]).subquery()
    total = func.sum(both.c.number)
    grouped = [both.c[_NAMES[name]] for name in names]
    statement = select(*grouped, total).group_by(*grouped).having(total != 0).limit(MAX_PAGE + 1)
    found = sorted((await bounded(tx, statement, LONGEST, HINT)).all())
    if not names:
        return [{"count": int(found[0][0]) if found else 0}]
    return _FOLDED.groups(names, found, tx.dialect)


def _both(
    dialect: str, visible: Visibility, params: SummaryParams, kind: str, columns: Sequence[str]
) -> CompoundSelect[Any]:
    """Select what was added up and what was not yet."""
    parts = []
    for table, searchable in ((counts, _FOLDED), (count_changes, _CHANGED)):
        wanted = [searchable.where(params.search, dialect)]
        if table is counts:
            wanted.append(_c.kind == kind)
        if visible.vo is not None:
            wanted.append(table.c.vo == visible.vo)
        if visible.owner_sub is not None:
            wanted.append(table.c.owner_sub == visible.owner_sub)
        parts.append(select(*(table.c[name] for name in columns), table.c.number).where(and_(*wanted)))
    return union_all(*parts)


async def fold(tx: Transaction, most: int) -> int:
    """Add up some of the changes, at most so many; return how many they were.

    Only those that are committed: what others are just changing is skipped, not waited for.
    """
    if (await tx.execute(select(_d.id).limit(1))).first() is None:
        return 0
    # Before the changes: to remove its own, one would wait for those of another that waits here.
    await _lock(tx)
    statement = select(_d.id, _d.number, *_VALUES).limit(most).with_for_update(skip_locked=True)
    changes = (await tx.execute(statement)).all()
    if not changes:
        return 0
    alike: Counter[tuple[str, ...]] = Counter()  # most changes are like others
    for change in changes:
        alike[tuple(change)[2:]] += change.number
    sums: Counter[tuple[str, ...]] = Counter()
    for values, number in alike.items():
        for kind, places in _PLACES.items():
            sums[(kind, *(values[place] for place in places))] += number
    await _add(tx, sums)
    await tx.execute(delete(count_changes).where(_d.id.in_([change[0] for change in changes])))
    return len(changes)


async def repair(tx: Transaction, kind: str) -> int:
    """Compare a kind of count with the jobs, and make it right; return how many numbers were wrong.

    It looks at all jobs. The difference is one statement's view, and is added like any change: what others do
    meanwhile stays right.
    """
    await _lock(tx)
    columns = KINDS[kind]
    of = {table: [table.c[name] for name in columns] for table in (jobs, counts, count_changes)}
    both = union_all(
        select(*of[jobs], func.count().label("number")).group_by(*of[jobs]),
        select(*of[counts], -_c.number).where(_c.kind == kind),
        select(*of[count_changes], -_d.number),
    ).subquery()
    total = func.sum(both.c.number)
    by = [both.c[name] for name in columns]
    wrong = (await tx.execute(select(*by, total).group_by(*by).having(total != 0))).all()
    await _add(tx, Counter({(kind, *row[:-1]): int(row[-1]) for row in wrong}))
    return len(wrong)


async def _lock(tx: Transaction) -> None:
    """Keep others from adding up until the end: additions of two would be in different orders."""
    row = {"digest": _LOCK, "kind": _LOCK, "number": 0} | dict.fromkeys(COUNTED, "")
    await tx.put(counts, row, ["number"])


async def _add(tx: Transaction, sums: Mapping[tuple[str, ...], int]) -> None:
    rows = [_row(key, number) for key, number in sums.items() if number]
    await tx.add(counts, rows, "number")
    digests = [row["digest"] for row in rows]
    for start in range(0, len(digests), _BATCH):
        some: Collection[str] = digests[start : start + _BATCH]
        await tx.execute(delete(counts).where(_c.digest.in_(some), _c.number == literal(0)))


def _row(key: tuple[str, ...], number: int) -> dict[str, Any]:
    kind, *values = key
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]
    return (
        dict.fromkeys(COUNTED, "")
        | dict(zip(KINDS[kind], values, strict=True))
        | {
            "digest": digest,
            "kind": kind,
            "number": number,
        }
    )
