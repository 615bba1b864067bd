"""Texts of other systems as files of ours, and ours as texts of theirs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import yaml

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats import cfg
from dirac.systems.configuration import diracx, document, legacy
from dirac.systems.configuration.legacy import Imported
from dirac.systems.configuration.models import Converted, Tree
from dirac.systems.configuration.trees import plain

FORMATS = ("cfg", "diracx", "yaml")
MAX_BYTES = 8 * 1024 * 1024
_MAX_DEPTH = 40
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def convert(text: str, form: str, computing: Collection[str]) -> Converted:
    """Return the files that say what another system's configuration says.

    Args:
        text: That configuration.
        form: `cfg` or `diracx`.
        computing: Names of the plugins for computing elements that are here.

    Raises:
        InvalidInputError: It is not of that form.
        TooLargeError: It is too large.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise TooLargeError(f"the text is larger than {MAX_BYTES} bytes")
    if found := _UNFIT.search(text):
        raise InvalidInputError(
            f"a character that cannot be printed (U+{ord(found[0]):04X})",
            where=f"line {text.count(chr(10), 0, found.start()) + 1}",
        )
    if form == "cfg":
        made = legacy.imported(cfg.parse(text), computing)
    elif form == "diracx":
        made = diracx.imported(_yaml(text), computing)
    else:
        raise InvalidInputError(f"{form!r} is no form that can be imported", hint="Known are: cfg, diracx")
    return Converted(_files(made), made.report)


def export(tree: Tree, form: str, issuer: str) -> str:
    """Return a tree as a text of another system.

    Raises:
        InvalidInputError: There is no such form, or something cannot be said in it.
    """
    if form == "cfg":
        return cfg.dump(legacy.exported(tree))
    if form == "diracx":
        return document.print_yaml(msgspec.to_builtins(diracx.served(tree, issuer)))
    if form == "yaml":
        return document.write(tree)
    raise InvalidInputError(f"there is no form {form!r}", hint=f"Known are: {', '.join(FORMATS)}")


def _files(made: Imported) -> dict[str, str]:
    """Return one file for each VO and each grid of sites, and one for the rest."""
    rest = {
        name: value for name, value in made.tree.items() if name not in ("virtual_organisations", "sites")
    }
    files = {
        f"vo/{name}.yml": {"virtual_organisations": {name: vo}}
        for name, vo in made.tree.get("virtual_organisations", {}).items()
    }
    for name, site in made.tree.get("sites", {}).items():
        files.setdefault(f"sites/{name}.yml", {"sites": {}})["sites"][name] = site
    if rest:
        files["installation.yml"] = rest
    return {name: _printed(value) for name, value in files.items()}


def _printed(value: Mapping[str, Any]) -> str:
    # What is only equal is no anchor: files are for people.
    return document.print_yaml(msgspec.json.decode(msgspec.json.encode(plain(value))))


def _yaml(text: str) -> Mapping[str, Any]:
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise InvalidInputError("aliases are not accepted here; write it out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise InvalidInputError(f"more than {_MAX_DEPTH} levels of nesting")
        value = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise InvalidInputError(f"this is no valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise InvalidInputError("DiracX's configuration is a mapping of sections")
    found: Mapping[str, Any] = _plain_keys(value)
    return found


def _plain_keys(value: Any) -> Any:
    """Return JSON values: names are text, and so are dates; what has no value is not there."""
    if isinstance(value, dict):
        return {str(name): _plain_keys(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | set | tuple):
        return [_plain_keys(each) for each in value if each is not None]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
