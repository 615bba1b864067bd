"""The code keeps to the architecture, and the picture of it is the one that is committed."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.loading import load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def imports() -> ModuleType:
    """The program that draws the picture."""
    program: ModuleType = load("docs/developer/imports.py")
    return program


@pytest.fixture
def loggers() -> Iterator[None]:
    """All loggers there are, which the linter's own configuration of logging disables."""
    yield
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.mark.usefixtures("loggers")
def test_the_import_contracts_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_the_committed_picture_is_up_to_date(imports: ModuleType) -> None:
    committed = (ROOT / "docs/developer/imports.md").read_text("utf-8")
    assert committed == imports.render(), "run python docs/developer/imports.py"


def test_the_matrix_has_no_arrow_upwards(imports: ModuleType) -> None:
    present, counted = imports.arrows()
    ranks = {part: rank for rank, row in enumerate(imports.order(present)) for part in row}
    upwards = [pair for pair in counted if set(pair) <= set(ranks) and ranks[pair[0]] >= ranks[pair[1]]]
    assert counted, "no import was found at all"
    assert upwards == []


_POSSESSIVE_GROUP = re.compile(r"(?<!\\)\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")


def test_no_expression_has_a_possessive_group() -> None:
    """Python before 3.11.5 matches them wrongly, as that of Debian 12, on which sites run."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("src", "pilot", "roles")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str | bytes)
        and _POSSESSIVE_GROUP.search(
            node.value if isinstance(node.value, str) else node.value.decode("latin-1")
        )
    ]
    assert found == []
