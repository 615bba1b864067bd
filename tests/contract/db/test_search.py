"""The search language means the same on every database."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Float, Integer, String, Table, TextClause, insert, select, text, true

from dirac.core.errors import InvalidInputError
from dirac.core.search import (
    Condition,
    Page,
    Paging,
    SearchParams,
    Sort,
    SummaryParams,
    all_of,
    any_of,
    none_of,
)
from dirac.db.bounds import TooSlowError, bounded
from dirac.db.engine import Database
from dirac.db.search import Searchable
from dirac.db.search_conditions import values_of
from dirac.db.tables import new_metadata
from dirac.db.types import BigId, UtcDateTime

from .made import with_tables

metadata = new_metadata()
things = Table(
    "search_thing",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("size", Integer),
    Column("weight", Float, nullable=False),
    Column("good", Boolean, nullable=False),
    Column("made", UtcDateTime),
)
MADE = datetime(2026, 11, 20, 9, 30, 15, 500_000, tzinfo=UTC)
ROWS = [
    {"id": 1, "name": "Alpha", "size": 10, "weight": 0.5, "good": True, "made": MADE},
    {"id": 2, "name": "alpha", "size": 20, "weight": 1.5, "good": False, "made": MADE + timedelta(days=1)},
    {"id": 3, "name": "100%", "size": None, "weight": 2.5, "good": True, "made": None},
    {
        "id": 4,
        "name": "under_score",
        "size": -5,
        "weight": 3.5,
        "good": True,
        "made": MADE + timedelta(days=40),
    },
    {
        "id": 5,
        "name": "back\\slash",
        "size": 20,
        "weight": 4.5,
        "good": False,
        "made": MADE - timedelta(days=400),
    },
    {
        "id": 6,
        "name": "Zoë",
        "size": 0,
        "weight": 5.5,
        "good": True,
        "made": MADE + timedelta(microseconds=1),
    },
]
SEARCHABLE = Searchable(
    {
        "ID": things.c.id,
        "Name": things.c.name,
        "Size": things.c.size,
        "Weight": things.c.weight,
        "Good": things.c.good,
        "Made": things.c.made,
    },
    key="ID",
    pseudo={"Twice": lambda condition: things.c.id.in_([int(value) // 2 for value in values_of(condition)])},
)


@pytest.fixture
async def filled(database_url: str) -> AsyncIterator[Database]:
    async with with_tables(database_url, metadata) as database:
        async with database.write() as tx:
            await tx.execute(insert(things), ROWS)
        yield database


async def search(database: Database, params: SearchParams, page: int = 1, per_page: int = 100) -> Page:
    async with database.read() as tx:
        return await SEARCHABLE.search(tx, params, Paging(page, per_page), visible=true())


async def ids(database: Database, parameter: str, operator: Any, value: Any) -> list[int]:
    vector = operator in ("in", "not in")
    condition = Condition(parameter, operator, **({"values": value} if vector else {"value": value}))
    found = await search(database, SearchParams(search=[condition]))
    return [row["ID"] for row in found.rows]


MATCHES: list[tuple[str, str, Any, list[int]]] = [
    ("Name", "eq", "alpha", [2]),
    ("Name", "eq", "ALPHA", []),
    ("Name", "neq", "alpha", [1, 3, 4, 5, 6]),
    ("Name", "in", ["Alpha", "100%"], [1, 3]),
    ("Name", "in", [], []),
    ("Name", "not in", ["Alpha", "100%"], [2, 4, 5, 6]),
    ("Name", "not in", [], [1, 2, 3, 4, 5, 6]),
    ("Name", "like", "a%", [2]),
    ("Name", "like", "%lpha", [1, 2]),
    ("Name", "like", "_lpha", [1, 2]),
    ("Name", "like", "%\\%", [3]),
    ("Name", "like", "%\\_%", [4]),
    ("Name", "like", "back\\\\slash", [5]),
    ("Name", "like", "Zo_", [6]),
    ("Name", "not like", "%lpha", [3, 4, 5, 6]),
    ("Name", "regex", "^[Aa]lpha$", [1, 2]),
    ("Name", "regex", "LPHA", []),
    ("Name", "regex", "lph|score", [1, 2, 4]),
    ("Name", "regex", "^[0-9]+%$", [3]),
    ("Name", "regex", r"^\d{1,255}\%$", [3]),
    ("Name", "gt", "Z", [2, 4, 5, 6]),
    ("Name", "lt", "A", [3]),
    ("Name", "eq", 100, []),
    ("Size", "eq", 20, [2, 5]),
    ("Size", "eq", "20", [2, 5]),
    ("Size", "neq", 20, [1, 4, 6]),
    ("Size", "gt", 0, [1, 2, 5]),
    ("Size", "lt", "0", [4]),
    ("Size", "in", [10, 0], [1, 6]),
    ("Size", "not in", ["10", 0], [2, 4, 5]),
    ("ID", "eq", 2**63 - 1, []),
    ("ID", "in", ["6", "2", "3"], [2, 3, 6]),
    ("Weight", "gt", "4.4", [5, 6]),
    ("Weight", "eq", "2.5", [3]),
    ("Good", "eq", "true", [1, 3, 4, 6]),
    ("Good", "neq", 1, [2, 5]),
    ("Good", "in", ["False"], [2, 5]),
    ("Made", "eq", "2026", [1, 2, 4, 6]),
    ("Made", "eq", "2026-11", [1, 2, 6]),
    ("Made", "eq", "2026-11-20", [1, 6]),
    ("Made", "eq", "2026-11-20T09", [1, 6]),
    ("Made", "eq", "2026-11-20 09:30", [1, 6]),
    ("Made", "eq", "2026-11-20T09:30:15", [1, 6]),
    ("Made", "eq", "2026-11-20T09:30:15.5", [1, 6]),
    ("Made", "eq", "2026-11-20T09:30:15.500000Z", [1]),
    ("Made", "eq", "2026-11-20T10:30:15.500001+01:00", [6]),
    ("Made", "neq", "2026-11", [4, 5]),
    ("Made", "gt", "2026-11", [4]),
    ("Made", "gt", "2026-11-20T09:30:15.500000+00:00", [2, 4, 6]),
    ("Made", "lt", "2026-11-20", [5]),
    ("Made", "gt", "9999", []),
    ("Made", "eq", "9999-12-31", []),
    ("Made", "in", ["2025", "2026-12"], [4, 5]),
    ("Made", "not in", ["2025", "2026-12"], [1, 2, 6]),
    ("Made", "in", [], []),
    ("Size", "gte", 10, [1, 2, 5]),
    ("Size", "lte", 0, [4, 6]),
    ("Size", "is null", None, [3]),
    ("Size", "is not null", None, [1, 2, 4, 5, 6]),
    ("Size", "not in", [], [1, 2, 4, 5, 6]),
    ("Name", "is null", None, []),
    ("Name", "gte", "Zo\u00eb", [2, 4, 5, 6]),
    ("Weight", "lte", "1.5", [1, 2]),
    ("Made", "gte", "2026-11-20T09:30:15.500001", [2, 4, 6]),
    ("Made", "lte", "2026-11-20T09:30:15.500000", [1, 5]),
    ("Made", "lte", "2026-11", [1, 2, 5, 6]),
    ("Made", "lte", "9999", [1, 2, 4, 5, 6]),
    ("Made", "is null", None, [3]),
    ("Twice", "eq", 4, [2]),
    ("Twice", "in", ["2", 12], [1, 6]),
]


async def test_every_operator_on_every_type(filled: Database) -> None:
    for parameter, operator, value, expected in MATCHES:
        assert await ids(filled, parameter, operator, value) == expected, (parameter, operator, value)


REFUSED: list[tuple[str, str, Any, str]] = [
    ("Nmae", "eq", "x", "Known are: ID, Name, Size, Weight, Good, Made, Twice"),
    ("Size", "regex", "1", "no text"),
    ("Size", "like", "1%", "no text"),
    ("Made", "not like", "2026%", "no text"),
    ("Good", "gt", 0, "true or false"),
    ("Good", "eq", "maybe", "true or false"),
    ("Size", "eq", "many", "no whole number"),
    ("Size", "eq", "", "no whole number"),
    ("Size", "eq", 2**31, "out of range"),
    ("Size", "in", [1, -(2**31) - 1], "out of range"),
    ("ID", "eq", "9223372036854775808", "out of range"),
    ("ID", "eq", "99999999999999999999", "no whole number"),
    ("Weight", "gt", "heavy", "no number"),
    ("Weight", "gt", "nan", "no number"),
    ("Made", "eq", "yesterday", "Examples"),
    ("Made", "eq", 2026, "Examples"),
    ("Made", "eq", "2026-13", "no date"),
    ("Made", "eq", "0000", "no date"),
    ("Made", "eq", "0001+01:00", "no date"),
    ("Made", "eq", "2026-11-20T09:30+99:00", "no date"),
    ("Name", "regex", "(", "no regular expression"),
    ("Name", "regex", "(a+)+$", "repetition"),
    ("Name", "regex", "(?i)a", "extension"),
    ("Name", "regex", "[[:alpha:]]x", "no regular expression"),
    ("Name", "regex", "a" * 300, "longer"),
    ("Name", "regex", "a{1000}", "differently"),
    ("Name", "regex", "a{2,300}", "differently"),
    ("Name", "regex", "a{,3}", "differently"),
    ("Name", "regex", "[a[:digit:]]", "differently"),
    ("Name", "regex", r"\bAlpha", "differently"),
    ("Name", "regex", r"\u0041", "differently"),
    ("Name", "like", "a\\", "backslash"),
    ("Good", "gte", 0, "true or false"),
    ("Size", "is null", 3, "takes no value"),
    ("Twice", "like", "4", "'eq' or 'in'"),
    ("Name", "in", None, "list"),
    ("Name", "eq", None, "one 'value'"),
    ("Name", "eq", "x" * 5000, "longer"),
    ("ID", "in", list(range(10_001)), "at most"),
]


async def test_what_does_not_fit_is_refused_with_a_reason(filled: Database) -> None:
    for parameter, operator, value, message in REFUSED:
        with pytest.raises(InvalidInputError) as caught:
            await ids(filled, parameter, operator, value)
        assert message in str(caught.value), (parameter, operator, value, str(caught.value))
        assert (caught.value.where or "").startswith("search")


async def test_what_only_one_engine_dislikes_is_the_callers_fault_too(filled: Database) -> None:
    """An expression that Python and MariaDB can read, and PostgreSQL cannot."""
    try:
        assert await ids(filled, "Name", "regex", "x*+") is not None
    except InvalidInputError as error:
        assert "cannot work with a value" in str(error)  # noqa: PT017 - not all engines mind


async def test_too_many_conditions_and_values_are_refused(filled: Database) -> None:
    many = [Condition("ID", "eq", 1)] * 101
    with pytest.raises(InvalidInputError, match="at most 100"):
        await search(filled, SearchParams(search=many))
    wide = [Condition("ID", "in", values=list(range(6000)))] * 2
    with pytest.raises(InvalidInputError, match="12000 values"):
        await search(filled, SearchParams(search=wide))
    fits = [Condition("ID", "in", values=list(range(10_000)))]
    assert (await search(filled, SearchParams(search=fits))).total == 6


async def test_rows_have_the_wire_names_and_moments_in_utc(filled: Database) -> None:
    (row,) = (await search(filled, SearchParams(search=[Condition("ID", "eq", 1)]))).rows
    assert row == {
        "ID": 1,
        "Name": "Alpha",
        "Size": 10,
        "Weight": 0.5,
        "Good": True,
        "Made": "2026-11-20T09:30:15.500000Z",
    }
    page = await search(filled, SearchParams(parameters=["Size", "ID"], search=[Condition("ID", "eq", 3)]))
    assert page == Page(rows=[{"Size": None, "ID": 3}], total=1, first=0)
    with pytest.raises(InvalidInputError, match=r"Known are: ID, Name, Size, Weight, Good, Made$"):
        await search(filled, SearchParams(parameters=["ID", "Twice"]))


async def test_rows_are_sorted_alike_and_what_is_equal_by_the_key(filled: Database) -> None:
    async def order(*sorts: Sort) -> list[int]:
        return [row["ID"] for row in (await search(filled, SearchParams(sort=list(sorts)))).rows]

    assert await order() == [1, 2, 3, 4, 5, 6]
    assert await order(Sort("Name")) == [3, 1, 6, 2, 5, 4]
    assert await order(Sort("Size")) == [3, 4, 6, 1, 2, 5]
    assert await order(Sort("Size", "desc")) == [5, 2, 1, 6, 4, 3]
    assert await order(Sort("Size", "desc"), Sort("ID", "asc")) == [2, 5, 1, 6, 4, 3]
    assert await order(Sort("Good"), Sort("Made", "desc")) == [2, 5, 4, 6, 1, 3]
    with pytest.raises(InvalidInputError, match="Known are"):
        await order(Sort("Twice"))


@pytest.mark.parametrize("per_page", [1, 2, 4, 6, 7])
async def test_pages_show_each_row_once(filled: Database, per_page: int) -> None:
    seen, page = [], 1
    while found := await search(filled, SearchParams(sort=[Sort("Good")]), page, per_page):
        assert found.total == 6
        assert found.first == (page - 1) * per_page
        if not found.rows:
            break
        seen += [row["ID"] for row in found.rows]
        page += 1
    assert seen == [2, 5, 1, 3, 4, 6]
    with pytest.raises(InvalidInputError, match="page"):
        await search(filled, SearchParams(), 0, 10)


def _for_ever() -> TextClause:
    """Return a statement that no engine finishes within a lifetime: 6^20 rows."""
    many = ", ".join(f"search_thing t{number}" for number in range(20))
    return text(f"SELECT SUM(t0.id + t19.id) FROM {many}")


async def test_what_takes_too_long_is_given_up_and_the_connection_goes_on(filled: Database) -> None:
    async def look() -> None:
        async with filled.read() as tx:
            await bounded(tx, _for_ever(), 0.2, "Ask for less")

    for _ in range(2):
        with pytest.raises(TooSlowError, match=r"longer than 0\.2 s\. Ask for less"):
            await look()
        assert (await search(filled, SearchParams())).total == 6
    async with filled.read() as tx:
        with contextlib.suppress(TooSlowError):
            async with tx.savepoint():
                await bounded(tx, _for_ever(), 0.2, "Ask for less")
        await tx.execute(select(things.c.id))  # without the bound of what failed


async def test_totals_beyond_a_limit_are_lower_bounds_unless_asked_for(
    filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dirac.db.search._MOST_COUNTED", 3)

    async def page(number: int, per_page: int, **options: Any) -> Page:
        async with filled.read() as tx:
            return await SEARCHABLE.search(
                tx, SearchParams(), Paging(number, per_page, **options), visible=true()
            )

    for number, per_page, total, exact in (
        (1, 2, 3, False),
        (2, 2, 5, False),
        (3, 2, 6, True),
        (1, 6, 6, True),
    ):
        found = await page(number, per_page)
        assert (found.total, found.exact) == (total, exact), (number, per_page)
    assert (await page(1, 2, count=True)).total == 6
    assert (await page(1, 2, count=False)).total is None
    assert (await page(4, 2)).total == 6
    monkeypatch.setattr(SEARCHABLE, "_count", _too_slow)
    found = await page(1, 2)
    assert (found.total, found.exact, len(found.rows)) == (3, False, 2)


async def _too_slow(*_: object) -> int:
    raise TooSlowError("no")


async def test_distinct_rows(filled: Database) -> None:
    params = SearchParams(parameters=["Good"], distinct=True, sort=[Sort("Good", "desc")])
    assert await search(filled, params) == Page(rows=[{"Good": True}, {"Good": False}], total=2, first=0)
    assert (await search(filled, params, 2, 1)).rows == [{"Good": False}]
    assert (await search(filled, params, 1, 1)).total == 2
    with pytest.raises(InvalidInputError, match="sorted by 'Name'"):
        await search(filled, SearchParams(parameters=["Good"], distinct=True, sort=[Sort("Name")]))


async def test_groups_of_conditions(filled: Database) -> None:
    async def found(*conditions: Condition) -> list[int]:
        return [row["ID"] for row in (await search(filled, SearchParams(search=[*conditions]))).rows]

    twenty, good = Condition("Size", "eq", 20), Condition("Good", "eq", 1)
    assert await found(any_of([twenty, good])) == [1, 2, 3, 4, 5, 6]
    assert await found(all_of([twenty, good])) == []
    assert await found(none_of([twenty])) == [1, 3, 4, 6]
    assert await found(none_of([twenty, good])) == []
    assert await found(good, any_of([Condition("ID", "lt", 3), Condition("Size", "is null")])) == [1, 3]
    deep = twenty
    for _ in range(7):
        deep = none_of([deep])
    assert await found(deep) == [1, 3, 4, 6]
    for wrong, where, reason in (
        (none_of([deep]), "search[1].not.not.not.not.not.not.not.not", "deeper than 8"),
        (any_of([good, Condition("Size", "like", "1")]), "search[1].or[1]", "no text"),
        (Condition(and_=[Condition("Colour", "eq", 1)]), "search[1].and[0]", "Known are"),
        (Condition(or_=[]), "search[1]", "without conditions"),
        (Condition("Size", "eq", 1, or_=[good]), "search[1]", "nothing else"),
        (Condition(and_=[good], or_=[good]), "search[1]", "nothing else"),
        (Condition(operator="eq", value=1), "search[1]", "no 'parameter'"),
        (Condition("Size"), "search[1]", "no 'operator'"),
        (any_of([good] * 100), "search", "at most 100"),
    ):
        with pytest.raises(InvalidInputError, match=reason) as caught:
            await found(good, wrong)
        assert caught.value.where == where


async def test_summaries(filled: Database) -> None:
    async def summary(*grouping: str, conditions: list[Condition] | None = None) -> list[dict[str, Any]]:
        params = SummaryParams(grouping=list(grouping), search=conditions or [])
        async with filled.read() as tx:
            return await SEARCHABLE.summary(tx, params, visible=true())

    assert await summary("Good") == [{"Good": False, "count": 2}, {"Good": True, "count": 4}]
    assert await summary("Size", conditions=[Condition("ID", "lt", 4)]) == [
        {"Size": None, "count": 1},
        {"Size": 10, "count": 1},
        {"Size": 20, "count": 1},
    ]
    assert await summary() == [{"count": 6}]
    assert await summary("Name", conditions=[Condition("ID", "gt", 100)]) == []
    with pytest.raises(InvalidInputError, match="Known are"):
        await summary("Colour")
