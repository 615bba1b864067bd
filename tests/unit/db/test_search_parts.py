"""What a search by a parameter of few values may find; and how texts are compared on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, String, select
from sqlalchemy.dialects.postgresql import asyncpg

from dirac.core.search import Condition
from dirac.db.search_conditions import BY_CODE_POINTS, exact
from dirac.db.search_parts import possible

VALUES = ["Done", "Failed", "Running", "Waiting"]
DONE = Condition("Status", "eq", "Done")
ELSEWHERE = Condition("Site", "eq", "LCG.CERN.ch")


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        ([], VALUES),
        ([DONE], ["Done"]),
        ([Condition(not_=DONE)], ["Failed", "Running", "Waiting"]),
        ([Condition("Status", "neq", "Done"), Condition("Status", "lt", "Waiting")], ["Failed", "Running"]),
        ([Condition("Status", "in", values=["Done", "Failed", "Gone"])], ["Done", "Failed"]),
        ([Condition("Status", "not in", values=["Done", "Failed"])], ["Running", "Waiting"]),
        ([Condition("Status", "like", "D%")], VALUES),
        ([ELSEWHERE], VALUES),
        ([Condition(or_=[DONE, ELSEWHERE])], VALUES),
        ([Condition(and_=[DONE, ELSEWHERE])], ["Done"]),
        ([Condition(not_=Condition(or_=[DONE, ELSEWHERE]))], ["Failed", "Running", "Waiting"]),
        ([Condition(not_=Condition(and_=[DONE, ELSEWHERE]))], VALUES),
        ([DONE, Condition(not_=DONE)], []),
    ],
)
def test_only_values_that_conditions_rule_out_are_left_out(
    conditions: list[Condition], left: list[str]
) -> None:
    assert possible(VALUES, "Status", conditions) == left


@pytest.mark.parametrize(("by_code_points", "collated"), [(True, False), (False, True), (None, True)])
def test_a_collation_is_named_unless_the_database_has_it(by_code_points: bool | None, collated: bool) -> None:
    dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]
    if by_code_points is not None:
        setattr(dialect, BY_CODE_POINTS, by_code_points)
    column = exact(Column("name", String()), "postgresql")
    sql = str(select(column).order_by(column.desc()).compile(dialect=dialect))
    assert ('COLLATE "C" DESC' in sql) == collated
