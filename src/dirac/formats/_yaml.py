"""YAML as descriptions use it: plain values only, no tags, no aliases, and faults with their place."""

from __future__ import annotations

from typing import Any

import yaml

from dirac.core.errors import InvalidInputError, TooLargeError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MAX_BYTES = 1 << 20
_MAX_DEPTH = 40


class _Plain(_Loader):  # type: ignore[misc]
    """Refuses keys that are given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _refusal(f"{key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _refusal(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _check(text: str) -> None:
    """Refuse what makes a small text large or deep, before anything is made of it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not accepted; write it out", event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise _refusal(f"nested deeper than {_MAX_DEPTH} levels", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def load(text: str) -> Any:
    """Read one document.

    Raises:
        TooLargeError: It is larger than `MAX_BYTES`.
        InvalidInputError: It is not YAML, or more than that; `where` is the line and column, from 1.
    """
    if len(text) > MAX_BYTES:
        raise TooLargeError(
            f"the description is larger than the {MAX_BYTES} bytes that are accepted as YAML",
            hint="write it in JSON",
        )
    try:
        _check(text)
        return yaml.load(text, Loader=_Plain)  # noqa: S506 - a safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1} column {mark.column + 1}" if mark else None
        raise InvalidInputError(f"this is no YAML: {error.problem or error.context}", where=where) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInputError(f"this is no YAML: {str(error).splitlines()[0]}") from None


def dump(value: Any) -> str:
    """Print plain values as they would be written by hand."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))
