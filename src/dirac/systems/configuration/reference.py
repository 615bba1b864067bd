"""The reference of all options, made from the models.

Run ``python -m dirac.systems.configuration.reference > docs/operator/configuration.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import NODEFAULT, inspect

from dirac.systems.configuration.models import Tree
from dirac.systems.configuration.trees import plain

_HEAD = """\
# The configuration

<!-- Made by `python -m dirac.systems.configuration.reference`; a test compares. -->

One YAML file says what the installation is made of: its communities, its sites, its rules.

    dirac config apply --dry-run site.yaml   # what would change
    dirac config apply site.yaml             # check everything, then make it the new version
    dirac config log                         # all versions
    dirac config rollback 3                  # the text of version 3 as a new version

Every fault of a file is reported at once, with file, line and column; a file with a fault changes nothing.
Servers take a new version over within a second, without a restart.

**Secrets never belong in the configuration**: whoever reads it, its history or its backups would have them.
Put a secret into a file that only the server can read, and the file's name into the configuration. Settings
of plugins that are called like a secret (`password`, `secret`, `token`, `private_key`, ...) are refused.

Numbers are decimal. Text that looks like a number, a date or `yes`/`no` must be quoted. Anchors and aliases
(`&name`, `*name`) may save repetition; merging with `<<` is not accepted.

In the paths below, `<vo>` and the like stand for names that you choose.
"""


def reference() -> str:
    """Return the reference as Markdown: a table per section, with path, type, default and meaning."""
    parts = [_HEAD]
    for path, section in _sections("", inspect.type_info(Tree)):
        title = f"`{path}`" if path else "The whole"
        rows = [
            f"| `{f'{path}/' if path else ''}{field.encode_name}` | {_type(field.type)} "
            f"| {_default(field)} | {_meaning(field.type)} |"
            for field in section.fields
        ]
        table = ["| path | type | default | meaning |", "|---|---|---|---|", *rows]
        parts.append("\n".join([f"## {title}", "", _summary(section.cls), "", *table, ""]))
    return "\n".join(parts)


def _sections(path: str, kind: inspect.Type) -> Iterator[tuple[str, inspect.StructType]]:
    """Yield all sections below a place, outer ones first."""
    kind = bare(kind)
    if isinstance(kind, inspect.DictType):
        title = _extra(kind.key_type).get("title", "name")
        yield from _sections(f"{path}/<{title}>", kind.value_type)
    elif isinstance(kind, inspect.StructType):
        yield path, kind
        for field in kind.fields:
            yield from _sections(f"{path}/{field.encode_name}" if path else field.encode_name, field.type)


def bare(kind: inspect.Type) -> inspect.Type:
    """Return a type without its descriptions."""
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _extra(kind: inspect.Type) -> dict[str, Any]:
    return (kind.extra_json_schema or {}) if isinstance(kind, inspect.Metadata) else {}


def _summary(cls: type) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def _meaning(kind: inspect.Type) -> str:
    return str(_extra(kind).get("description", ""))


def _type(kind: inspect.Type) -> str:
    kind = bare(kind)
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_type(part) for part in kind.types)
    if isinstance(kind, inspect.DictType):
        return "mapping" if isinstance(bare(kind.value_type), inspect.AnyType) else "sections"
    if isinstance(kind, inspect.ListType):
        return f"list of {_type(kind.item_type)}"
    if isinstance(kind, inspect.EnumType):
        return ", ".join(f"`{choice.value}`" for choice in kind.cls)
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
    return f"`{msgspec.json.encode(plain(value)).decode()}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
