"""The quickstart is true: its commands run, in order, in one shell, and say what the page shows.

``sh`` blocks are run as they are. In ``console`` blocks, lines that begin with ``$`` are run; the lines below
one are looked for, in order, in what it prints. Numbers of jobs are others in each installation: what a
submission prints tells which of its own stands for which of the page.
"""

from __future__ import annotations

import re
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from tests.acceptance.installation import Installation

PAGE = Path(__file__).parents[2] / "docs/user/quickstart.md"
PATIENCE = 120.0

_block = re.compile(r"^```(sh|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_submitted = re.compile(r"^(?:Job (\d+) submitted\.|\d+ jobs submitted: (\d+)-(\d+))$", re.MULTILINE)


class Step(NamedTuple):
    """A command, and the lines that it should print."""

    command: str
    shown: list[str]


def steps(page: str) -> Iterator[Step]:
    """Yield what the page lets its reader type."""
    for kind, content in _block.findall(page):
        if kind == "sh":
            yield Step(content, [])
            continue
        lines = content.splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            yield Step(lines[start].removeprefix("$ "), lines[start + 1 : end])


class Shell:
    """One shell for all commands, as a reader has it."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it printed."""
        mark = uuid.uuid4().hex
        source, printed = self._process.stdin, self._process.stdout
        assert source is not None
        assert printed is not None
        source.write(f"{{\n{command}\n}} </dev/null\necho {mark} $?\n")
        source.flush()
        guard = threading.Timer(PATIENCE, self._process.kill)
        guard.start()
        said: list[str] = []
        try:
            for line in printed:
                before, found, code = line.partition(mark)
                said.append(before)
                if found:
                    return int(code), "".join(said)
        finally:
            guard.cancel()
        raise AssertionError(f"{command!r} did not end within {PATIENCE} s; it said {''.join(said)!r}")


class Numbers:
    """Which job here stands for which job of the page."""

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}

    def learn(self, shown: str, said: str) -> None:
        """Compare what the page shows of a submission with what it said here."""
        theirs, ours = _submitted.search(shown), _submitted.search(said)
        if theirs is None:
            return
        assert ours is not None, f"nothing was submitted: {said!r}"
        first, last, here = (int(found) for found in (*_ends(theirs), _ends(ours)[0]))
        for offset in range(last - first + 1):
            self._ours[str(first + offset)] = str(here + offset)

    def here(self, text: str) -> str:
        """Return a text of the page with the numbers of the jobs here."""
        return re.sub(r"\b\d+\b", lambda found: self._ours.get(found[0], found[0]), text)


def _ends(found: re.Match[str]) -> tuple[str, str]:
    one, first, last = found.groups()
    return (one, one) if one else (first, last)


def test_a_reader_of_the_quickstart_gets_what_it_says(installation: Installation, tmp_path: Path) -> None:
    numbers, done = Numbers(), 0
    with Shell(installation.environment("alice"), tmp_path) as shell:
        for step in steps(PAGE.read_text("utf-8")):
            command = numbers.here(step.command)
            code, said = shell.run(command)
            assert code == 0, f"{command!r} ended with {code}: {said}"
            numbers.learn("\n".join(step.shown), said)
            rest = iter(said.splitlines())
            for line in step.shown:
                assert numbers.here(line) in rest, f"{command!r} should say {line!r}: {said}"
            done += 1
    assert done > 15, "the page has hardly any commands; are its blocks still marked as such?"
