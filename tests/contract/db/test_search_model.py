"""Searches find the same on every database as a few lines of Python, in the same order, each row once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Column, Double, Integer, String, Table, delete, insert, true

from dirac.core.errors import InvalidShapeError
from dirac.core.search import Condition, Paging, SearchParams, Sort, SummaryParams
from dirac.core.time import to_wire
from dirac.db.engine import Database
from dirac.db.search import Searchable
from dirac.db.search_values import moments
from dirac.db.tables import new_metadata
from dirac.db.types import BigId, UtcDateTime

metadata = new_metadata()
things = Table(
    "search_model",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("note", String(64)),
    Column("size", Integer),
    Column("weight", Double, nullable=False),
    Column("good", Boolean, nullable=False),
    Column("made", UtcDateTime),
)
KINDS = {
    "ID": "id",
    "Name": "name",
    "Note": "note",
    "Size": "size",
    "Weight": "weight",
    "Good": "good",
    "Made": "made",
}
_COLUMNS = {name: things.c[column] for name, column in KINDS.items()}
SEARCHABLE = Searchable(_COLUMNS, key="ID")
BEGIN = datetime(2026, 11, 20, 9, 30, 15, 500_000, tzinfo=UTC)
NAMES = ["", "a", "A", "ab", "aB", "é", "e", "Z", "100%", "a_b", "a\\b", "日本", "a.b", "-"]
MOMENTS = [
    None,
    BEGIN,
    BEGIN + timedelta(microseconds=1),
    BEGIN + timedelta(days=1),
    BEGIN - timedelta(days=400),
]
IN_PARTS = Searchable(_COLUMNS, key="ID", few={"Name": [*NAMES, "of none"]})
ROWS: list[dict[str, Any]] = [
    {
        "ID": number + 1,
        "Name": NAMES[number * 5 % len(NAMES)],
        "Note": ([None, *NAMES])[number * 7 % (len(NAMES) + 1)],
        "Size": [None, -1, 0, 1, 2**31 - 1][number * 3 % 5],
        "Weight": [0.0, -1.5, 0.1, 1e10][number % 4],
        "Good": number % 3 == 0,
        "Made": MOMENTS[number * 2 % len(MOMENTS)],
    }
    for number in range(45)
]

_DATES = ["2025", "2026", "2026-11", "2026-11-20", "2026-11-20T09:30:15.5", to_wire(BEGIN), "9999"]
_VALUES = {
    "ID": st.integers(-1, 50),
    "Name": st.sampled_from(NAMES),
    "Note": st.sampled_from(NAMES),
    "Size": st.sampled_from([-1, 0, 1, 5, 2**31 - 1, "0", " 1 "]),
    "Weight": st.sampled_from(["0", "0.1", "-1.5", "1e10", 1]),
    "Good": st.sampled_from(["true", "False", 0, 1]),
    "Made": st.sampled_from(_DATES),
}
_ORDERED = ("gt", "gte", "lt", "lte")
_ANY = ("eq", "neq", "in", "not in", "is null", "is not null")
_PATTERNS = st.sampled_from(["%", "a%", "%b", "_", "__", "%\\%", "a\\_b", "a\\\\b", "", "%a%b%"])
_REGEXES = st.sampled_from(["^a", "b$", "^.$", "[A-Z]", "a|b", "^$", r"\d+", r"a\.b", "^(ab|aB)$"])


@st.composite
def _leaf(draw: Callable[[Any], Any]) -> Condition:
    name = draw(st.sampled_from(sorted(KINDS)))
    operators = [*_ANY]
    if name != "Good":
        operators += _ORDERED
    if name in ("Name", "Note"):
        operators += ["like", "not like", "regex"]
    operator = draw(st.sampled_from(operators))
    if operator in ("is null", "is not null"):
        return Condition(name, operator)
    if operator in ("in", "not in"):
        return Condition(name, operator, values=draw(st.lists(_VALUES[name], max_size=3)))
    if operator in ("like", "not like"):
        return Condition(name, operator, draw(_PATTERNS))
    return Condition(name, operator, draw(_REGEXES if operator == "regex" else _VALUES[name]))


def _group(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        some.map(lambda each: Condition(or_=each)),
        some.map(lambda each: Condition(and_=each)),
        inner.map(lambda each: Condition(not_=each)),
    )


CONDITIONS = st.lists(st.recursive(_leaf(), _group, max_leaves=6), max_size=3)
SORTS = st.lists(
    st.builds(Sort, st.sampled_from(sorted(KINDS)), st.sampled_from(["asc", "desc"])), max_size=3
)


def holds(row: dict[str, Any], condition: Condition) -> bool:
    """Say what a condition means."""
    if condition.not_ is not None:
        return not holds(row, condition.not_)
    if condition.or_ is not None:
        return any(holds(row, each) for each in condition.or_)
    if condition.and_ is not None:
        return all(holds(row, each) for each in condition.and_)
    value, operator = row[str(condition.parameter)], condition.operator
    if operator in ("is null", "is not null"):
        return (value is None) == (operator == "is null")
    if value is None:
        return False
    if operator == "regex":
        return re.search(str(condition.value), value) is not None
    if operator in ("like", "not like"):
        return _like(str(condition.value), value) == (operator == "like")
    if operator in ("in", "not in"):
        return any(_equal(value, each) for each in condition.values or ()) == (operator == "in")
    if operator in ("eq", "neq"):
        return _equal(value, condition.value) == (operator == "eq")
    return _ordered(value, str(operator), condition.value)


def _like(pattern: str, value: str) -> bool:
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    made = "".join({"%": ".*", "_": "."}.get(piece, re.escape(piece[-1])) for piece in pieces)
    return re.fullmatch(made, value, re.DOTALL) is not None


def _span(value: Any, given: Any) -> tuple[Any, Any]:
    """Return the least of what was given, and what is greater than all of it."""
    if isinstance(value, datetime):
        begin, end = moments(given, "Made")
        return begin, end or datetime.max.replace(tzinfo=UTC)
    if isinstance(value, bool):
        given = str(given).lower() in ("true", "1")
    elif isinstance(value, str):
        given = str(given)
    else:
        given = float(given)
    return given, None


def _equal(value: Any, given: Any) -> bool:
    begin, end = _span(value, given)
    return bool(value == begin if end is None else begin <= value < end)


def _ordered(value: Any, operator: str, given: Any) -> bool:
    begin, end = _span(value, given)
    below = value < begin
    above = value > begin if end is None else value >= end
    return bool({"lt": below, "gte": not below, "gt": above, "lte": not above}[operator])


def expected(conditions: list[Condition], sorts: list[Sort]) -> list[dict[str, Any]]:
    """Return the rows that fit, sorted: what has no value is the least, what is equal goes by the key."""
    rows = [row for row in ROWS if all(holds(row, each) for each in conditions)]
    last = sorts[-1].direction if sorts else "asc"
    for sort in reversed([*sorts, Sort("ID", last)]):  # type: ignore[arg-type]
        name = sort.parameter
        rows.sort(key=lambda row: (row[name] is not None, row[name]), reverse=sort.direction == "desc")
    return rows


def shown(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"Made": None if row["Made"] is None else to_wire(row["Made"])}


@pytest.fixture
def filled(database_url: str) -> Any:
    """A table of things, and what runs coroutines."""
    with asyncio.Runner() as runner:
        database = Database(database_url)

        async def fill() -> None:
            async with database.engine.begin() as connection:
                await connection.run_sync(metadata.create_all)
                rows = [{KINDS[name]: value for name, value in row.items()} for row in ROWS]
                await connection.execute(insert(things), rows)

        runner.run(fill())
        yield runner, database
        runner.run(database.close())


_ONCE = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@_ONCE
@given(CONDITIONS, SORTS, st.integers(1, 12), st.booleans(), st.sampled_from([SEARCHABLE, IN_PARTS]))
def test_pages_by_cursor_are_what_a_few_lines_of_python_find(
    filled: Any, conditions: list[Condition], sorts: list[Sort], size: int, few: bool, table: Searchable
) -> None:
    runner, database = filled
    parameters = ["Name"] if few else None  # what the order needs is fetched, and not shown
    params = SearchParams(search=conditions, sort=sorts, parameters=parameters)

    async def everything() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            async with database.read() as tx:
                page = await table.search(tx, params, Paging(1, size, cursor), visible=true())
            rows += page.rows
            cursor = page.cursor
            assert cursor is None or len(page.rows) == size
            assert page.total is None
        return rows

    found, wanted = runner.run(everything()), expected(conditions, sorts)
    assert found == [{"Name": row["Name"]} if few else shown(row) for row in wanted]


@_ONCE
@given(CONDITIONS, st.lists(st.sampled_from(["Name", "Note", "Good", "Size"]), max_size=2, unique=True))
def test_summaries_and_counts_are_what_a_few_lines_of_python_count(
    filled: Any, conditions: list[Condition], grouping: list[str]
) -> None:
    runner, database = filled
    rows = expected(conditions, [])

    async def both() -> tuple[list[dict[str, Any]], int | None]:
        async with database.read() as tx:
            counted = await SEARCHABLE.summary(tx, SummaryParams(grouping, conditions), visible=true())
            page = await SEARCHABLE.search(
                tx, SearchParams(search=conditions), Paging(1, 3, count=True), visible=true()
            )
        return counted, page.total

    counted, total = runner.run(both())
    assert total == len(rows)
    groups: dict[tuple[Any, ...], int] = {}
    for row in rows:
        key = tuple(row[name] for name in grouping)
        groups[key] = groups.get(key, 0) + 1
    if not grouping:
        groups = {(): len(rows)}
    assert {tuple(row[name] for name in grouping): row["count"] for row in counted} == groups


@pytest.mark.parametrize("sort", [[], [Sort("Note", "desc")], [Sort("Good"), Sort("Made", "desc")]])
def test_rows_that_come_and_go_do_not_move_the_others(filled: Any, sort: list[Sort]) -> None:
    """Before and behind the cursor, rows are removed and added: those that stay come exactly once."""
    runner, database = filled

    async def read() -> list[int]:
        seen: list[int] = []
        cursor: str | None = ""
        number = 0
        while cursor is not None:
            async with database.write() as tx:
                page = await SEARCHABLE.search(
                    tx, SearchParams(sort=sort, parameters=["ID"]), Paging(1, 5, cursor), visible=true()
                )
                number += 1
                new = {KINDS[name]: value for name, value in ROWS[number].items()} | {"id": 100 + number}
                await tx.execute(insert(things), [new])
                # Of the rows whose number divides by three, some that were seen and some that were not.
                await tx.execute(delete(things).where(things.c.id.in_([number * 3, 46 - number * 3])))
            seen += [row["ID"] for row in page.rows]
            cursor = page.cursor
        return seen

    seen = runner.run(read())
    assert len(seen) == len(set(seen))
    assert {each for each in range(1, 46) if each % 3 and (46 - each) % 3} <= set(seen)


def test_cursors_of_others_are_refused(filled: Any) -> None:
    runner, database = filled

    async def page(params: SearchParams, cursor: str) -> str | None:
        async with database.read() as tx:
            return (await SEARCHABLE.search(tx, params, Paging(1, 5, cursor), visible=true())).cursor

    by_name = SearchParams(sort=[Sort("Name")])
    cursor = runner.run(page(by_name, ""))
    assert cursor is not None
    assert runner.run(page(by_name, cursor)) != cursor
    for params, wrong, reason in (
        (SearchParams(), cursor, "another search"),
        (SearchParams(sort=[Sort("Name", "desc")]), cursor, "another search"),
        (SearchParams(sort=[Sort("Name")], search=[Condition("ID", "gt", 3)]), cursor, "another search"),
        (by_name, "x", "no cursor"),
        (by_name, "!", "no cursor"),
        (by_name, "eyJhIjoxfQ", "no cursor"),
        (by_name, cursor[:-6], "no cursor"),
    ):
        with pytest.raises(InvalidShapeError, match=reason) as caught:
            runner.run(page(params, wrong))
        assert caught.value.where == "cursor"
