"""References of options as Markdown, made from the structs that declare them: type, default, meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect

from dirac.core.secrets import SecretReference

Section = tuple[str, inspect.StructType]


def sections(root: type[msgspec.Struct], separator: str = "/") -> list[Section]:
    """Return all sections with their paths, outer ones first.

    Args:
        root: The struct of the whole.
        separator: What stands between the names of a path.
    """
    return list(_sections("", inspect.type_info(root), separator))


def tables(root: type[msgspec.Struct], separator: str = "/") -> str:
    """Return a heading and a table for each section: path, type, default and meaning of every option.

    References to secrets are described where the first one may be.
    """
    parts, told = [], False
    for path, section in sections(root, separator):
        if section.cls is SecretReference:  # the same everywhere
            if told:
                continue
            told = True
        title = f"`{path}`" if path else "The whole"
        rows = [
            f"| `{f'{path}{separator}' if path else ''}{field.encode_name}` | {_type(field.type)} "
            f"| {_default(field)} | {meaning(field.type)} |"
            for field in section.fields
        ]
        table = ["| path | type | default | meaning |", "|---|---|---|---|", *rows]
        parts.append("\n".join([f"## {title}", "", _summary(section.cls), "", *table, ""]))
    return "\n".join(parts)


def silent(root: type[msgspec.Struct]) -> list[str]:
    """Return the paths of options that say nothing about their meaning."""
    return [
        f"{path}/{field.encode_name}".lstrip("/")
        for path, section in sections(root)
        for field in section.fields
        if not meaning(field.type)
    ]


def meaning(kind: inspect.Type) -> str:
    """Return the description of an option; a section that has none is described by its docstring."""
    said = str(_extra(kind).get("description", ""))
    inner = bare(kind)
    return said or (_summary(inner.cls).rstrip(".") if isinstance(inner, inspect.StructType) else "")


def bare(kind: inspect.Type) -> inspect.Type:
    """Return a type without its descriptions."""
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _sections(path: str, kind: inspect.Type, separator: str) -> Iterator[Section]:
    kind = bare(kind)
    if isinstance(kind, inspect.DictType):
        title = _extra(kind.key_type).get("title", "name")
        yield from _sections(f"{path}{separator}<{title}>", kind.value_type, separator)
    elif isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from _sections(path, part, separator)
    elif isinstance(kind, inspect.StructType):
        yield path, kind
        for field in kind.fields:
            inner = f"{path}{separator}{field.encode_name}" if path else field.encode_name
            yield from _sections(inner, field.type, separator)


def _extra(kind: inspect.Type) -> dict[str, Any]:
    return (kind.extra_json_schema or {}) if isinstance(kind, inspect.Metadata) else {}


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _type(kind: inspect.Type) -> str:
    kind = bare(kind)
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_type(part) for part in kind.types)
    if isinstance(kind, inspect.DictType):
        return "mapping" if isinstance(bare(kind.value_type), inspect.AnyType) else "sections"
    if isinstance(kind, inspect.StructType) and kind.cls is SecretReference:
        return "reference"
    if isinstance(kind, inspect.ListType):
        return f"list of {_type(kind.item_type)}"
    if isinstance(kind, inspect.EnumType):
        return ", ".join(f"`{choice.value}`" for choice in kind.cls)
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{choice}`" for choice in kind.values)
    if isinstance(kind, inspect.IntType):
        return f"number from {kind.ge} to {kind.le}"
    names: dict[type[inspect.Type], str] = {
        inspect.StructType: "section",
        inspect.StrType: "text",
        inspect.BoolType: "`true` or `false`",
        inspect.NoneType: "nothing",
    }
    return names[type(kind)]


def _default(field: inspect.Field) -> str:
    if field.required:
        return "required"
    value = field.default if field.default_factory is NODEFAULT else field.default_factory()
    if value is None:
        return ""
    if isinstance(value, msgspec.Struct):
        return "its defaults"
    if isinstance(value, dict):  # of sections, whose own defaults are told in their own tables
        value = {name: {} if isinstance(each, msgspec.Struct) else each for name, each in value.items()}
    return f"`{msgspec.json.encode(value).decode()}`"
