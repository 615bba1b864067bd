"""What one option is, where that comes from, what it overrides and what it means."""

from __future__ import annotations

from typing import Any

from msgspec import NODEFAULT, Struct, inspect, structs

from dirac.core.errors import NotFoundError
from dirac.core.reference import bare, meaning
from dirac.systems.configuration.models import Overridden, Tree
from dirac.systems.configuration.shape import Path, accepted, suggestion
from dirac.systems.configuration.trees import at, plain

OPERATIONS = "operations"
_FREE = "an option of an extension or a plugin: what it means is not known here"


class Option(Struct, frozen=True):
    """One place of the tree, as far as its model tells.

    Attributes:
        value: What is there.
        default: What would be there if nobody said anything; None if there is no default.
        meaning: What it means.
        accepts: What is accepted there.
    """

    value: Any
    default: Any
    meaning: str
    accepts: str


def path_of(key: str) -> Path:
    """Return the names of a key, which has slashes between them.

    Raises:
        NotFoundError: It is empty.
    """
    names = tuple(key.strip("/").split("/"))
    if names == ("",):
        raise NotFoundError("an option has a name", hint="For instance workload/max_priority")
    return names


def option(tree: Tree, path: Path) -> Option:
    """Return an option of a tree.

    Raises:
        NotFoundError: There is none; the hint says what there is.
    """
    kind: inspect.Type = inspect.type_info(Tree)
    value: Any = tree
    default: Any = None
    said = ""
    for depth, name in enumerate(path):
        inner = _meant(bare(kind), value)
        if isinstance(inner, inspect.StructType) and isinstance(value, Struct):
            field = next((field for field in inner.fields if field.encode_name == name), None)
            if field is None:
                raise _unknown(path, depth, [each.encode_name for each in inner.fields])
            value, default, kind = getattr(value, name), _default(value, name), field.type
            said = meaning(field.type)
        elif isinstance(value, dict):
            if name not in value:
                raise _unknown(path, depth, value)
            value, default = value[name], None
            kind = inner.value_type if isinstance(inner, inspect.DictType) else inspect.AnyType()
            said = meaning(kind)
        else:
            raise _unknown(path, depth, ())
    inner = _meant(bare(kind), value)
    scalar = isinstance(inner, inspect.BoolType | inspect.IntType | inspect.StrType | inspect.EnumType)
    extra = kind.extra or {} if isinstance(kind, inspect.Metadata) else {}
    return Option(
        plain(value),
        plain(default),
        said or (_FREE if isinstance(inner, inspect.AnyType) else ""),
        accepted(inner, extra) if scalar else "",
    )


def stand_in(tree: Tree, path: Path) -> Path | None:
    """Return the place whose value counts for an option of a VO that it does not set itself."""
    if len(path) < 4 or path[0] != "virtual_organisations" or path[2] != OPERATIONS:
        return None
    try:
        at(tree, (OPERATIONS, *path[3:]))
    except LookupError:
        return None
    return (OPERATIONS, *path[3:])


def overridden(tree: Tree, path: Path, found: Option) -> list[Overridden]:
    """Return what an option comes before, the nearest first."""
    below = []
    if (other := stand_in(tree, path)) is not None:
        below.append(Overridden("/".join(other), plain(at(tree, other))))
    if found.default is not None and found.default != found.value:
        below.append(Overridden("default", found.default))
    return below


def _default(section: Struct, name: str) -> Any:
    field = next(each for each in structs.fields(section) if each.name == name)
    value = field.default if field.default_factory is NODEFAULT else field.default_factory()
    return None if value is NODEFAULT else value


def _meant(kind: inspect.Type, value: Any) -> inspect.Type:
    """Return which of the types of an option its value has: a section, or what is none."""
    if not isinstance(kind, inspect.UnionType):
        return kind
    parts = [bare(part) for part in kind.types if not isinstance(part, inspect.NoneType)]
    section = isinstance(value, Struct)
    return next((part for part in parts if isinstance(part, inspect.StructType) == section), parts[0])


def _unknown(path: Path, depth: int, known: Any) -> NotFoundError:
    place = "/".join(path[:depth]) or "the configuration"
    hint = suggestion(path[depth], list(known)[:1000]).removeprefix("; ") if known else "It has no parts"
    return NotFoundError(f"there is no {path[depth]!r} in {place}", hint=hint[:500])
