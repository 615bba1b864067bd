"""Writes the blocking client from the asynchronous one: ``python -m dirac.client._generate``.

One implementation, two clients. The translation knows words, not meaning: ``async`` and ``await`` are
dropped, ``Awaitable[X]`` becomes ``X``, and names with an asynchronous and a blocking form are exchanged.
A test fails when the files are not what this makes of their sources. Needs ruff, as developers have it.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tokenize
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_STAND_IN = "src/dirac/client/sync/generated.py"
_NAMES = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncClient": "Client",
    "AsyncIterator": "Iterator",
    "Clock": "BlockingClock",
    "SystemClock": "SystemBlockingClock",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aio": "sync",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "http_client": "http_client_sync",
}
_MODULES = {"dirac.core.time": "dirac.transport.blocking"}
# In strings, docstrings and comments, which are no code and yet show some.
_TEXTS = {
    "AsyncClient": "Client",
    "await ": "",
    "async for ": "for ",
    "async with ": "with ",
    "The asynchronous client, from which the blocking one is generated.": "The blocking client, generated.",
}
_DROPPED = {"async", "await"}
# What only asynchronous functions can be accused of; the waiver would be found to be without use.
_WAIVERS = ("  # noqa: ASYNC109 - the jobs' time, by the injected clock", ", ASYNC240")


def targets() -> dict[Path, Path]:
    """Return each generated file with its source."""
    pairs = {_ROOT / "transport/http_client_sync.py": _ROOT / "transport/http_client.py"}
    for source in sorted((_ROOT / "client/aio").glob("*.py")):
        pairs[_ROOT / "client/sync" / source.name] = source
    return pairs


def generate(source: Path) -> str:
    """Return the blocking form of a module."""
    text = source.read_text("utf-8")
    for old in _WAIVERS:
        text = text.replace(old, "")
    for old, new in _MODULES.items():
        text = text.replace(old, new)
    origin = source.relative_to(_ROOT.parent).as_posix()
    header = f"# Generated from {origin} by python -m dirac.client._generate; do not edit.\n"
    return _tidy(header + _translate(text))


def _translate(text: str) -> str:
    """Replace word by word; between the words, everything stays where it was."""
    lines = text.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    out, done, brackets = [], 0, list[bool]()
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    for index, token in enumerate(tokens):
        start = offsets[token.start[0] - 1] + token.start[1]
        end = offsets[token.end[0] - 1] + token.end[1]
        new = token.string
        if token.type == tokenize.NAME:
            new = _NAMES.get(new, new)
        elif token.type in (tokenize.STRING, tokenize.COMMENT):
            new = _in_text(new)
        skip = end
        if token.string in _DROPPED and token.type == tokenize.NAME:
            following = tokens[index + 1]
            new, skip = "", offsets[following.start[0] - 1] + following.start[1]
        elif token.string == "Awaitable" and tokens[index + 1].string == "[":
            new = ""
        elif token.string == "[":
            brackets.append(tokens[index - 1].string == "Awaitable")
            new = "" if brackets[-1] else "["
        elif token.string == "]" and brackets.pop():
            new = ""
        if new != token.string or skip != end:
            out += [text[done:start], new]
            done = skip
    return "".join(out) + text[done:]


def _in_text(text: str) -> str:
    for old, new in _TEXTS.items():
        text = text.replace(old, new)
    return text


def _tidy(text: str) -> str:
    """Drop imports without use any more and the like, and lay out lines that have become shorter."""
    for arguments in (["check", "--fix-only", "-"], ["format", "-"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--stdin-filename", _STAND_IN]
        run = subprocess.run(
            command, input=text, capture_output=True, text=True, check=True, cwd=_ROOT.parents[1]
        )
        text = run.stdout
    return text


def main() -> None:
    """Write all generated files."""
    for target, source in targets().items():
        target.parent.mkdir(exist_ok=True)
        target.write_text(generate(source), "utf-8")


if __name__ == "__main__":
    main()
