"""CFG, the text form of DIRAC's configuration: sections in braces, options with an equals sign.

::

    # A remark about what follows
    Section
    {
      Option = value up to the end of the line
      List = a
      List += b
    }

There is no quoting: a value is what stands behind the first ``=``, without blanks around it. Names hold none
of ``/ { } =``. Remarks are read and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from dirac.core.errors import InvalidInputError, TooLargeError

Section: TypeAlias = dict[str, Any]
"""Options (text) and sections by name, in their order."""

MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_DEPTH = 100
_UNFIT_NAME = re.compile(r"[/{}=#\r\n]|^\s|\s$|^$")
_UNFIT_VALUE = re.compile(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]|^\s|\s$")


def parse(text: str) -> Section:
    """Read a text.

    Raises:
        TooLargeError: It is larger than `MAX_BYTES`.
        InvalidInputError: It is no CFG; `where` is the line, from 1.
    """
    if len(text) > MAX_BYTES:
        raise TooLargeError(f"the text is larger than {MAX_BYTES} characters")
    reader = _Reader()
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if line and not line.startswith("#"):
            for piece in _pieces(line):
                reader.take(piece, number)
    return reader.end(text.count("\n") + 1)


class _Reader:
    """Puts pieces together: names, options, and braces."""

    def __init__(self) -> None:
        self._sections: list[Section] = [{}]
        self._pending: str | None = None

    def take(self, piece: str, number: int) -> None:
        if piece == "{":
            if not self._pending:
                raise _fault(number, "a { without a name in front of it")
            _open(self._sections, self._pending, number)
            self._pending = None
            return
        if self._pending:
            raise _fault(number, f"{self._pending!r} is neither a section nor an option")
        if piece == "}":
            if len(self._sections) == 1:
                raise _fault(number, "a } without a {")
            self._sections.pop()
        elif "=" in piece:
            _set(self._sections[-1], piece, number)
        else:
            self._pending = piece

    def end(self, number: int) -> Section:
        if self._pending or len(self._sections) > 1:
            raise _fault(number, "the text ends inside of a section")
        return self._sections[0]


def dump(section: Mapping[str, Any]) -> str:
    """Print sections and options.

    Raises:
        InvalidInputError: A name or a value cannot be written in CFG.
    """
    return "".join(_printed(section, ""))


def split(value: str) -> list[str]:
    """Return the items of a list, as options hold them: with commas."""
    return [item for each in value.split(",") if (item := each.strip())]


def _pieces(line: str) -> Iterator[str]:
    """Yield what stands on a line: an option takes all of it, a section may open or close there."""
    while line:
        equals, brace = line.find("="), min((at for at in map(line.find, "{}") if at >= 0), default=-1)
        if brace < 0 or 0 <= equals < brace:
            yield line
            return
        if head := line[:brace].strip():
            yield head
        yield line[brace]
        line = line[brace + 1 :].strip()


def _open(sections: list[Section], name: str, number: int) -> None:
    if len(sections) > _MAX_DEPTH:
        raise _fault(number, f"more than {_MAX_DEPTH} sections in one another")
    if _UNFIT_NAME.search(name):
        raise _fault(number, f"{name!r} is no name of a section")
    inner = sections[-1].setdefault(name, {})
    if not isinstance(inner, dict):
        raise _fault(number, f"{name!r} is an option already")
    sections.append(inner)


def _set(section: Section, line: str, number: int) -> None:
    name, _, value = line.partition("=")
    adds = name.rstrip().endswith("+")
    name, value = name.rstrip().removesuffix("+").strip(), value.strip()
    if _UNFIT_NAME.search(name):
        raise _fault(number, f"{name!r} is no name of an option")
    before = section.get(name)
    if isinstance(before, dict):
        raise _fault(number, f"{name!r} is a section already")
    section[name] = f"{before}, {value}" if adds and before else value


def _printed(section: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in section.items():
        if _UNFIT_NAME.search(name) or name.endswith("+"):
            raise InvalidInputError(f"{name!r} is no name that CFG can hold")
        if isinstance(value, Mapping):
            yield f"{indent}{name}\n{indent}{{\n"
            yield from _printed(value, f"{indent}  ")
            yield f"{indent}}}\n"
        elif isinstance(value, str) and not _UNFIT_VALUE.search(value):
            yield f"{indent}{name} = {value}\n"
        else:
            raise InvalidInputError(f"the value of {name!r} is nothing that CFG can hold: {value!r:.80}")


def _fault(number: int, text: str) -> InvalidInputError:
    return InvalidInputError(text, where=f"line {number}")
