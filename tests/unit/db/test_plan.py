"""The risk of a revision, and lines of revisions, decided from files alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dirac.core.errors import InternalError
from dirac.db.plan import derived_risk, step
from dirac.db.revisions import OWN, lines
from dirac.server.schema import LOCATIONS


@pytest.mark.parametrize(
    ("work", "risk"),
    [
        ('op.create_table("a", sa.Column("b", sa.Integer)); op.create_index("i", "a", ["b"])', "safe"),
        ('op.add_column("a", sa.Column("b", sa.Integer))', "safe"),
        ('op.add_column("a", sa.Column("b", sa.Integer, nullable=True))', "safe"),
        ('op.add_column("a", sa.Column("b", sa.Integer, nullable=False, server_default="0"))', "careful"),
        ('op.create_index("i", "old", ["b"])', "careful"),
        ('op.execute("UPDATE a SET b = 1")', "careful"),
        ('op.alter_column("a", "b", nullable=False)', "careful"),
        ('op.something_new("a")', "careful"),
        ('op.drop_column("a", "b")', "breaking"),
        ('op.create_table("n"); op.drop_table("a")', "breaking"),
        ("pass", "safe"),
    ],
)
def test_the_risk_is_that_of_the_worst_operation(work: str, risk: str) -> None:
    assert derived_risk(ast.parse(f"def upgrade():\n    {work}\n")) == risk


def test_operations_of_a_batch_count() -> None:
    body = 'with op.batch_alter_table("a") as batch:\n        batch.{}'
    for work, risk in (
        ('add_column(sa.Column("b", sa.Integer))', "safe"),
        ('drop_column("b")', "breaking"),
        ('alter_column("b", nullable=True)', "careful"),
    ):
        assert derived_risk(ast.parse(f"def upgrade():\n    {body.format(work)}\n")) == risk


def test_no_revision_that_takes_something_away_calls_itself_an_expansion() -> None:
    landed = [revision for line in lines(LOCATIONS).values() for revision in line]
    assert landed
    for revision in landed:
        derived = derived_risk(ast.parse(revision.file.read_text()))
        assert revision.phase == "contract" or derived != "breaking", f'{revision.id}: phase = "contract"'
        assert step(revision).summary, f"{revision.id} says nothing of itself"


def revision(directory: Path, name: str, down: str | None, rest: str = "") -> None:
    (directory / f"{name}.py").write_text(
        f'"""Do."""\nrevision = "{name}"\ndown_revision = {down!r}\n{rest}\n'
    )


def test_lines_are_in_order_and_named_by_their_label(tmp_path: Path) -> None:
    revision(tmp_path, "z_first", None, 'branch_labels = ("shelf",)')
    revision(tmp_path, "a_second", "z_first", 'phase = "contract"\nrisk = "careful"')
    found = lines([tmp_path])
    assert set(found) == {"db", "shelf"}
    assert [(one.id, one.phase) for one in found["shelf"]] == [
        ("z_first", "expand"),
        ("a_second", "contract"),
    ]
    assert step(found["shelf"][1]).risk == "careful", "as it says itself"
    assert found["db"][0].file.parent == OWN


@pytest.mark.parametrize(
    ("name", "down", "rest", "message"),
    [
        ("b", None, "", "two revisions follow None"),
        ("b", "missing", "", "do not form one line"),
        ("b", "a", 'phase = "shrink"', "no phase 'shrink'"),
    ],
)
def test_what_is_no_line_is_refused(
    tmp_path: Path, name: str, down: str | None, rest: str, message: str
) -> None:
    revision(tmp_path, "a", None)
    revision(tmp_path, name, down, rest)
    with pytest.raises(InternalError, match=message):
        lines([tmp_path])


def test_an_unknown_risk_is_refused(tmp_path: Path) -> None:
    revision(tmp_path, "a", None, 'risk = "none"')
    with pytest.raises(InternalError, match="no risk 'none'"):
        step(lines([tmp_path])["a"][0])
