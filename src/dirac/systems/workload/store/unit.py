"""One transaction of the workload system, with its stores."""

from __future__ import annotations

from dirac.db.transaction import Transaction
from dirac.db.unit import SystemUnit
from dirac.systems.workload.ports.pilots import PilotSecretRepository
from dirac.systems.workload.store.control import ControlStore
from dirac.systems.workload.store.jobs import JobStore
from dirac.systems.workload.store.nodes import NodeStore
from dirac.systems.workload.store.pilots import PilotStore
from dirac.systems.workload.store.pipeline import PipelineStore
from dirac.systems.workload.store.runs import RunStore
from dirac.systems.workload.store.sandboxes import SandboxStore
from dirac.systems.workload.store.usage import UsageStore


class WorkloadUnit(SystemUnit):
    """A transaction dressed with the stores of this system.

    Args:
        tx: The transaction.
        pilot_secrets: The identity system's store of pilots' secrets, in the same transaction; whatever
            starts no pilots can do without.
    """

    def __init__(self, tx: Transaction, pilot_secrets: PilotSecretRepository | None = None) -> None:
        super().__init__(tx)
        self._pilot_secrets = pilot_secrets
        self.jobs = JobStore(tx)
        self.sandboxes = SandboxStore(tx)
        self.runs = RunStore(tx)
        self.control = ControlStore(tx)
        self.pilots = PilotStore(tx)
        self.nodes = NodeStore(tx)
        self.pipeline = PipelineStore(tx)
        self.usage = UsageStore(tx)

    @property
    def pilot_secrets(self) -> PilotSecretRepository:
        """What pilots log in with."""
        if self._pilot_secrets is None:
            raise RuntimeError("this unit was made without a store of pilots' secrets")
        return self._pilot_secrets
