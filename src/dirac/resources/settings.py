"""Reading the settings of one resource into its typed form, with messages that name the setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from dirac.core.errors import InvalidInputError

Settings = TypeVar("Settings", bound=msgspec.Struct)

_PATH = re.compile(r"^(?P<fault>.*) - at `\$\.?(?P<path>[^`]*)`$", re.DOTALL)


def read_settings(kind: type[Settings], settings: Mapping[str, Any], where: str) -> Settings:
    """Turn a mapping into a settings struct.

    Args:
        kind: A struct declared with ``forbid_unknown_fields=True``.
        settings: What stands in the configuration.
        where: The owner of the settings, for messages, for instance ``computing element 'ce1'``.

    Raises:
        InvalidInputError: A setting is unknown, missing or of the wrong type; its name is in the error.
    """
    try:
        return msgspec.convert(dict(settings), kind)
    except msgspec.ValidationError as error:
        text = str(error)
        if match := _PATH.match(text):
            path = match["path"]
            raise InvalidInputError(f"setting {path!r}: {match['fault']}", where=where) from None
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise InvalidInputError(text, where=where, hint=f"Settings are: {known}") from None
