"""The workload system put together, for the composition root and for tests."""

from __future__ import annotations

from typing import Any, Protocol

from dirac.core.entropy import Entropy
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.resources.storage.base import ObjectStore
from dirac.systems.workload.logic.change_effects import ChangeEffects
from dirac.systems.workload.logic.counting import Counting
from dirac.systems.workload.logic.explain import Explain
from dirac.systems.workload.logic.explain_places import ExplainPlaces
from dirac.systems.workload.logic.life_cycle import JobLifeCycle
from dirac.systems.workload.logic.matching import Matching
from dirac.systems.workload.logic.nodes import Nodes
from dirac.systems.workload.logic.optimisation import Optimisation
from dirac.systems.workload.logic.pilot_factory import PilotFactory
from dirac.systems.workload.logic.pilot_making import PilotMaker
from dirac.systems.workload.logic.pilots import Pilots
from dirac.systems.workload.logic.queries import Queries
from dirac.systems.workload.logic.rehearsal import Rehearsals
from dirac.systems.workload.logic.renewal import PilotRenewal
from dirac.systems.workload.logic.rules import ConfiguredRules
from dirac.systems.workload.logic.sandboxes import Sandboxes
from dirac.systems.workload.logic.static_catalog import StaticCatalog
from dirac.systems.workload.logic.submission import Submission
from dirac.systems.workload.logic.upkeep import Upkeep
from dirac.systems.workload.logic.usage import UsageKeeping
from dirac.systems.workload.logic.verbs import BulkVerbs
from dirac.systems.workload.logic.waiting import Classes, Signals
from dirac.systems.workload.logic.watching import Watching
from dirac.systems.workload.ports.pilots import PilotSecrets, PilotTokens
from dirac.systems.workload.ports.running import ComputingElements, Configured, JobTokens, RunUnit
from dirac.systems.workload.ports.work import WorkUnit
from dirac.systems.workload.settings import PilotProgram


class Tokens(JobTokens, PilotTokens, Protocol):
    """Who issues the tokens of runs and of pilots."""


class WorkloadSystem:
    """Everything of the workload system, built once per process.

    Args:
        work: Units of work on jobs and sandboxes.
        runs: Units of work on jobs, runs and pilots.
        configuration: Gives the configuration in force.
        tokens: Makes tokens for runs of jobs, and for pilots.
        secrets: Knows the secrets of pilots.
        elements: Gives computing elements.
        objects: Where sandboxes are kept.
        clock: The time.
        entropy: Unpredictable bytes.
        program: How pilots are started.
    """

    def __init__(
        self,
        *,
        work: Units[WorkUnit],
        runs: Units[RunUnit],
        configuration: Configured,
        tokens: Tokens,
        secrets: PilotSecrets,
        elements: ComputingElements,
        objects: ObjectStore,
        clock: Clock,
        entropy: Entropy,
        program: PilotProgram,
    ) -> None:
        rules = ConfiguredRules(configuration)
        classes = self.classes = Classes(clock)
        self.signals = Signals()
        self.submission = Submission(work, rules, objects, self.signals)
        self.sandboxes = Sandboxes(work, rules, objects)
        self.queries = Queries(work)
        self.counting = Counting(work)
        self.usage_keeping = UsageKeeping(runs, configuration)
        self.matching = Matching(runs, configuration, tokens, self.signals, clock, classes)
        self.shadow = self.matching.shadow
        self.life_cycle = JobLifeCycle(runs, configuration, classes)
        self.explain = Explain(runs, configuration, classes, self.matching.waiting)
        self.explain_places = ExplainPlaces(
            runs, configuration, classes, self.matching.waiting, self.matching.offers
        )
        self.bulk_verbs = BulkVerbs(runs, configuration, classes)
        self.upkeep = Upkeep(runs, configuration, classes)
        self.watching = Watching(runs, configuration)
        self.optimisation = Optimisation(runs, configuration, classes, StaticCatalog(configuration))
        self.rehearsals = Rehearsals(work, configuration, self.optimisation)
        self.pilots = Pilots(runs, configuration)
        self.pilot_factory = PilotFactory(runs, configuration, elements, secrets, classes, entropy, program)
        maker = PilotMaker(secrets, program)
        self.nodes = Nodes(runs, configuration, elements, maker, self.signals, clock, classes)
        self.renewal = PilotRenewal(runs, configuration, tokens)
        self.change_effects = ChangeEffects(runs, classes)

    def provided(self) -> dict[type, Any]:
        """Return what routes and tasks ask for, by type."""
        return {type(part): part for part in vars(self).values()}
