"""What a server process needs to know to start pilots."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class PilotProgram(msgspec.Struct, frozen=True, kw_only=True):
    """How a pilot is started on a worker node."""

    url: Annotated[str, Meta(description="Address at which pilots reach the server")]
    program: Annotated[str, Meta(description="Path of the pilot's program on the worker node")]
    python: Annotated[str, Meta(description="Python of the worker node that runs it")] = "python3"
    secret_days: Annotated[int, Meta(ge=1, description="Days that a pilot may wait before it starts")] = 7
    keep_days: Annotated[int, Meta(ge=1, description="Days that the output of an ended pilot is kept")] = 1
