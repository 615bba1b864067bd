"""What the pages point to is there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
_PLACES = ("docs", "src", "pilot", "requirements", "roles", "tests", "bench", "inventories", "molecule")
_code = re.compile(r"^```.*?^```$|^ {4,}[^\n]*$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_link = re.compile(r"\]\(([^)\s]+)\)")
_heading = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def pages() -> list[Path]:
    """Return the pages of the checkout, without what programs have installed below it."""
    return sorted([*ROOT.glob("*.md"), *(page for name in _PLACES for page in ROOT.glob(f"{name}/**/*.md"))])


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    found = _heading.findall(
        re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def broken(page: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    faults = []
    for link in _link.findall(_code.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            faults.append(link)
    return faults


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n[a](gone.md) [b](#a-page) [c](#gone) [d](page.md) [e](https://example.org/x)\n"
    )
    assert broken(page) == ["gone.md", "#gone"]


def test_the_pages_of_the_project_are_found() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in pages()}
    assert {"README.md", "docs/decisions/README.md", "docs/user/quickstart.md", "pilot/README.md"} <= names
