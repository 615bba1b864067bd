"""Reading the words of the command line without the validation library that Typer uses for it.

Importing that library takes 0.15 s of CPU, more than all else that a command does; our parameters are texts,
numbers, paths and choices.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

_NOUNS = {int: "number", float: "number"}
_SIMPLE = (str, int, float, bool, Path)


class Reader:
    """Reads the words of one parameter; stands where Typer keeps its own reader."""

    def __init__(self, kind: type, *, many: bool) -> None:
        self._kind = kind
        self._many = many

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value of a word, or of many.

        Raises:
            BadParameter: It is none of the parameter's kind.
        """
        if self._many:
            return [self._read(word, param, ctx) for word in value or ()]
        return None if value is None else self._read(value, param, ctx)

    def _read(self, word: Any, param: Any, ctx: Any) -> Any:
        kind = self._kind
        try:
            value = kind(word)
        except ValueError:
            if issubclass(kind, Enum):
                expected = f"one of {', '.join(str(choice.value) for choice in kind)}"
            else:
                expected = f"a {_NOUNS.get(kind, kind.__name__)}"
            raise typer.BadParameter(f"{word!r} is not {expected}.", ctx=ctx, param=param) from None
        low, high = getattr(param, "min", None), getattr(param, "max", None)
        if isinstance(value, int | float) and (
            (low is not None and value < low) or (high is not None and value > high)
        ):
            bounds = f"from {low} to {high}" if high is not None else f"{low} or more"
            raise typer.BadParameter(f"{word} is not {bounds}.", ctx=ctx, param=param)
        return value


def lighten(params: list[Any]) -> list[Any]:
    """Give parameters of simple kinds our reader, and return all of them; others keep Typer's."""
    for param in params:
        descriptor = getattr(param, "type_descriptor", None)
        if descriptor is None:
            # A version of Typer that needs no such help.
            continue
        kind, many = descriptor.annotation, False
        if get_origin(kind) is list:
            kind, many = get_args(kind)[0], True
        if isinstance(kind, type) and (kind in _SIMPLE or issubclass(kind, Enum)):
            reader = Reader(kind, many=many)
            param.get_runtime_param = lambda reader=reader: reader
    return params
