"""Values of a CWL tool's inputs, the references to them, and the words of its command line.

Of expressions, parameter references are understood (CWL v1.2, 3.4.1); JavaScript is not.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote, urlsplit

from dirac.core.errors import InvalidInputError
from dirac.formats.lfn import is_lfn

_reference = re.compile(r"(?<!\\)\$(\(([^()]*)\)|\{)")
_segments = re.compile(r"\.([A-Za-z_]\w*)|\[\s*(?:'([^']*)'|\"([^\"]*)\"|([0-9]+))\s*\]")
_root = re.compile(r"\s*(inputs|self|runtime)((?:\.\w+|\[[^\]]*\])*)\s*").fullmatch


class FileValue(NamedTuple):
    """A file or directory that is the value of an input.

    Attributes:
        location: A local path, or a logical file name with its prefix.
        basename: What the job finds it under.
    """

    location: str
    basename: str

    def field(self, name: str) -> str:
        """Return a property, as CWL names it.

        Raises:
            KeyError: It is not known before the job runs.
        """
        root, extension = posixpath.splitext(self.basename)
        known = {"path": self.basename, "basename": self.basename, "location": self.location}
        return (known | {"nameroot": root, "nameext": extension})[name]


def refuse(where: str, what: str, hint: str | None = None) -> NoReturn:
    """Refuse a part of a tool.

    Raises:
        InvalidInputError: Always.
    """
    raise InvalidInputError(what, where=where, hint=hint)


class Scope(NamedTuple):
    """What references may refer to."""

    inputs: Mapping[str, Any]
    runtime: Mapping[str, Any]
    current: Any = None

    def evaluate(self, value: Any, where: str) -> Any:
        """Return a value with its references replaced; one that stands alone keeps its type.

        Raises:
            InvalidInputError: It is JavaScript, or refers to what is not known before the job runs.
        """
        if not isinstance(value, str) or "$" not in value:
            return value
        whole = _reference.fullmatch(value.strip())
        if whole:
            return self._resolve(whole, where)

        def shown(match: re.Match[str]) -> str:
            found = self._resolve(match, where)
            return found.basename if isinstance(found, FileValue) else as_text(found)

        return _reference.sub(shown, value).replace("\\$", "$")

    def _resolve(self, match: re.Match[str], where: str) -> Any:
        parsed = _root(match[2]) if match[2] is not None else None
        if parsed is None:
            refuse(
                where,
                f"{match[0]!r} is JavaScript, and only references to inputs are understood",
                "write the value out, or let the program work it out",
            )
        value: Any = {"inputs": self.inputs, "runtime": self.runtime, "self": self.current}[parsed[1]]
        for name, single, double, index in _segments.findall(parsed[2]):
            key = name or single or double
            try:
                if index:
                    value = value[int(index)]
                else:
                    value = value.field(key) if isinstance(value, FileValue) else value[key]
            except (KeyError, IndexError, TypeError):
                refuse(where, f"{match[0]!r} is not known before the job runs")
        return value


def as_text(value: Any) -> str:
    """Return one value as a word."""
    if isinstance(value, FileValue):
        return value.basename
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def bound(value: Any, binding: Any, where: str) -> list[str]:
    """Return the words that a value and its binding stand for (CWL v1.2, 4.1, CommandLineBinding)."""
    prefix = getattr(binding, "prefix", None)
    separator = getattr(binding, "itemSeparator", None)
    if getattr(binding, "shellQuote", None) is False:
        refuse(where, "shellQuote: false needs a shell", "let baseCommand be [sh, -c, ...]")
    if value is None or value is False or value == []:
        return []
    if value is True:
        return [prefix] if prefix else []
    if isinstance(value, list):
        words = [as_text(item) for item in value]
        words = [separator.join(words)] if separator is not None else words
    else:
        words = [as_text(value)]
    if not prefix:
        return words
    if getattr(binding, "separate", None) is False:
        return [prefix + words[0], *words[1:]]
    return [prefix, *words]


def value_of(given: Any, base: Path, where: str) -> Any:
    """Return a value of the inputs object with its files found.

    Raises:
        InvalidInputError: It has a form that a job cannot get.
    """
    if isinstance(given, list):
        return [value_of(item, base, where) for item in given]
    kind = given.get("class") if isinstance(given, Mapping) else getattr(given, "class_", None)
    if kind in ("File", "Directory"):
        return _file(given if isinstance(given, Mapping) else vars(given), base, where)
    if isinstance(given, Mapping):
        refuse(where, "records have no form in a job", "give single values")
    return given


def _file(given: Mapping[str, Any], base: Path, where: str) -> FileValue:
    location = given.get("location") or given.get("path")
    if not location:
        refuse(where, "a file without location or path", "put what it holds into a file")
    if given.get("secondaryFiles"):
        refuse(where, "secondaryFiles have no form in a job", "make them inputs of their own")
    if not is_lfn(location):
        url = urlsplit(location)
        if url.scheme not in ("", "file"):
            refuse(where, f"{location!r} cannot be taken along", "use a local file or LFN:/<vo>/...")
        path = Path(unquote(url.path)) if url.scheme else Path(location)
        location = str(path if path.is_absolute() else base / path)
    name = posixpath.basename(location.rstrip("/"))
    if given.get("basename") not in (None, name):
        refuse(where, f"the file {name!r} cannot get another name", "rename it")
    return FileValue(location, name)
