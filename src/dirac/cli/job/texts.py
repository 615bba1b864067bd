"""Reading descriptions of jobs from files."""

from __future__ import annotations

import sys
from pathlib import Path

from dirac.core.errors import InvalidInputError

_CWL = ".cwl"


def read_text(name: str, inputs: str | None = None) -> str:
    """Return a description in JDL, YAML or JSON.

    Args:
        name: Its file, ``-`` for standard input; a file of CWL is translated.
        inputs: File with the values for the inputs of a tool in CWL.

    Raises:
        InvalidInputError: It cannot be read, or not be translated; `where` says where.
    """
    if name.endswith(_CWL):
        from dirac.client.cwl import translate  # late: its parser is large, and an extra
        from dirac.formats.conversion import dump_json

        return dump_json(translate(Path(name), Path(inputs) if inputs else None))
    if inputs is not None:
        raise InvalidInputError(f"{name} takes no inputs", hint="--inputs is for tools in CWL (*.cwl)")
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{name} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
