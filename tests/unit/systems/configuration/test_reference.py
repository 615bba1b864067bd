"""The reference says everything, and is the one that is committed."""

from __future__ import annotations

from pathlib import Path

from dirac.core.reference import silent
from dirac.systems.configuration.models import Tree
from dirac.systems.configuration.reference import reference

COMMITTED = Path(__file__).parents[4] / "docs/operator/configuration.md"


def test_every_option_has_a_meaning() -> None:
    assert silent(Tree) == []


def test_the_committed_reference_is_up_to_date() -> None:
    assert COMMITTED.read_text() == reference(), (
        "run python -m dirac.systems.configuration.reference > docs/operator/configuration.md"
    )


def test_a_row_has_path_type_default_and_meaning() -> None:
    assert (
        "| `virtual_organisations/<vo>/groups/<group>/job_share` | number from 1 to 2147483647 | `1000` "
        "| Share of the VO's resources, in parts |"
    ) in reference()
