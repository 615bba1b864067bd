"""Worker nodes that start pilots themselves: nothing is ever submitted, the nodes come and ask.

The queues of such an element say what one pilot gets and how many there may be; how much there is in truth,
the nodes say each time they ask. What becomes of a pilot is reported by its node's launcher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec

from dirac.core.errors import NotFoundError
from dirac.resources.computing.base import (
    OUTPUT_LIMIT,
    Capabilities,
    Capacity,
    ComputingElement,
    Output,
    PilotJob,
    PilotState,
    PilotStatus,
    Submitted,
)
from dirac.resources.settings import read_settings

_WHY = "worker nodes start the pilots of this computing element themselves"


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of an element whose nodes ask for pilots: there are none."""


class NodeComputingElement(ComputingElement):
    """Stands for worker nodes without a batch system; refuses whatever a server might want to do there.

    It does not keep the promises about submissions: who looks at `Capabilities.pull` never makes any.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(output=False, reserves_processors=True, pull=True)

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> Self:
        """Make an element; there is nothing to be set."""
        read_settings(NodeSettings, settings, f"computing element {name!r}")
        return cls(name)

    async def submit(self, jobs: Sequence[PilotJob]) -> list[Submitted]:
        """Refuse all pilots."""
        return [Submitted(job.stamp, error=_WHY) for job in jobs]

    async def status(self, references: Sequence[str]) -> dict[str, PilotState]:
        """Know nothing of any pilot: the nodes do."""
        return {name: PilotState(PilotStatus.UNKNOWN, reason=_WHY) for name in references}

    async def cancel(self, references: Sequence[str]) -> dict[str, str]:
        """Refuse: a pilot whose record has ended is stopped by its node."""
        return dict.fromkeys(references, _WHY)

    async def output(self, reference: str, limit: int = OUTPUT_LIMIT) -> Output:  # noqa: ARG002
        """Have no output.

        Raises:
            NotFoundError: Always; it is in the log of the node's launcher.
        """
        raise NotFoundError(f"the output of pilot {reference!r} is on its worker node", hint=_WHY)

    async def cleanup(self, references: Sequence[str]) -> dict[str, str]:  # noqa: ARG002
        """Forget what was never known."""
        return {}

    async def capacity(self) -> Capacity:
        """Say that there is none to be submitted to."""
        return Capacity(0, 0, 0, 0)
