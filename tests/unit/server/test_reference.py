"""The reference of the settings says everything, and is the one that is committed."""

from __future__ import annotations

from pathlib import Path

from dirac.core.reference import silent
from dirac.server.reference import reference
from dirac.server.settings import Settings

COMMITTED = Path(__file__).parents[3] / "docs/operator/settings.md"


def test_every_setting_has_a_meaning() -> None:
    assert silent(Settings) == []


def test_the_committed_reference_is_up_to_date() -> None:
    assert COMMITTED.read_text("utf-8") == reference(), (
        "run python -m dirac.server.reference > docs/operator/settings.md"
    )


def test_a_row_has_path_type_default_and_meaning() -> None:
    row = '| `http.host` | text | `"127.0.0.1"` | Address to listen on |'
    assert row in reference()
