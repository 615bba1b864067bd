"""Writes `imports.md`, the picture of who imports whom: ``python docs/developer/imports.py``.

The parts and their order come from the import-linter contracts in `pyproject.toml`, the arrows from the
imports in `src`. A test compares the page with what this makes.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grimp

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path(__file__).with_name("imports.md")
_PACKAGE = "dirac"
_SYSTEMS = "systems"

_HEAD = """\
# Who imports whom

<!-- Made by `python docs/developer/imports.py`; a test compares. -->

The order of the layers is a contract in `pyproject.toml`; the arrows are the imports in `src/dirac` as they
are. A number counts pairs of modules: one imports the other. [architecture.md](architecture.md) says what
the parts are for.
"""

Arrows = Counter[tuple[str, str]]


def contracts() -> list[dict[str, Any]]:
    """Return the import contracts of the project."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


def _layers(container: str) -> list[list[str]]:
    """Return the layers of a package, from the top; parts of one layer stand side by side."""
    for contract in contracts():
        if contract["type"] == "layers" and contract["containers"] == [container]:
            return [re.findall(r"\w+", layer) for layer in contract["layers"]]
    raise LookupError(f"no contract has the layers of {container}")


def order(present: frozenset[str]) -> list[list[str]]:
    """Return the parts that exist, in layers from the top; each system is a part of its own."""
    rows: list[list[str]] = []
    for layer in _layers(_PACKAGE):
        if layer == [_SYSTEMS]:
            inner = _layers(f"{_PACKAGE}.{_SYSTEMS}")
            rows += [[f"{_SYSTEMS}.{name}" for name in row] for row in inner]
        else:
            rows.append(layer)
    return [kept for row in rows if (kept := [part for part in row if part in present])]


def _part(module: str) -> str | None:
    """Return the part a module belongs to, None for what only holds the others together.

    The file with the version is there only when the package was built.
    """
    words = module.split(".")[1:]
    if not words or words in ([_SYSTEMS], ["_version"]):
        return None
    return ".".join(words[:2] if words[0] == _SYSTEMS else words[:1])


def arrows() -> tuple[frozenset[str], Arrows]:
    """Return the parts that there are, and how many imports lead from one to another."""
    graph = grimp.build_graph(_PACKAGE, cache_dir=None)
    parts = frozenset(part for module in graph.modules if (part := _part(module)))
    counted: Arrows = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = _part(module), _part(imported)
            if pair[0] and pair[1] and pair[0] != pair[1]:
                counted[pair[0], pair[1]] += 1
    return parts, counted


def _graph(rows: Sequence[Sequence[str]], counted: Mapping[tuple[str, str], int]) -> Iterator[str]:
    yield "```mermaid"
    yield "flowchart TD"
    for number, row in enumerate(rows):
        yield f"    subgraph layer{number}[ ]"
        yield from (f'        {part.replace(".", "_")}["{part}"]' for part in row)
        yield "    end"
    for (source, target), count in sorted(counted.items()):
        yield f"    {source.replace('.', '_')} -->|{count}| {target.replace('.', '_')}"
    yield "```"


def _matrix(parts: Sequence[str], counted: Mapping[tuple[str, str], int]) -> Iterator[str]:
    yield f"| imports → | {' | '.join(parts)} |"
    yield f"|---|{'---:|' * len(parts)}"
    for source in parts:
        cells = ["·" if source == target else str(counted.get((source, target), "")) for target in parts]
        yield f"| **{source}** | {' | '.join(cells)} |"


def render() -> str:
    """Return the page."""
    present, counted = arrows()
    rows = order(present)
    parts = [part for row in rows for part in row]
    beside = sorted(present - set(parts))
    lines = [_HEAD, "## The picture", "", *_graph(rows, _among(counted, parts)), ""]
    lines += [
        "## The matrix",
        "",
        "Lower layers are further right, so that all numbers are right of the dots.",
        "",
    ]
    lines += [*_matrix(parts, counted), ""]
    if beside:
        lines += [f"In no layer, imported by tests only: {', '.join(f'`{part}`' for part in beside)}.", ""]
    lines += ["## The contracts", "", "`bin/test --lint` checks them.", ""]
    lines += [f"* {contract['name']}" for contract in contracts()]
    return "\n".join(lines) + "\n"


def _among(counted: Arrows, parts: Sequence[str]) -> Arrows:
    return Counter({pair: count for pair, count in counted.items() if set(pair) <= set(parts)})


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    PAGE.write_text(render(), "utf-8")
