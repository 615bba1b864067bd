"""From the texts of a submission to jobs that can be inserted; pure, so that it can run in a thread."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats import description as descriptions
from dirac.formats import jdl as jdls
from dirac.formats import parametric
from dirac.formats.description import JobDescription, Limits
from dirac.formats.jdl import Bare, Jdl
from dirac.formats.parametric import MAX_CHARACTERS
from dirac.systems.configuration.models import Workload
from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.ports.work import NewClass, NewJob, Owner
from dirac.systems.workload.sandbox_names import SandboxName, is_reference

ACCEPTED = (JobStatus.RECEIVED.value, "Job accepted")
WAITING = (JobStatus.WAITING.value, "Pilot Agent Submission")

_TYPE_LENGTH = 64
# What only the server may say of a job.
_OURS = ("Owner", "OwnerGroup", "OwnerDN", "VirtualOrganization", "VO", "JobID", "JobRequirements", "Status")


class Prepared(msgspec.Struct, frozen=True):
    """Checked jobs, ready to be inserted.

    Attributes:
        sandboxes: For each job the names of its input archives.
    """

    jobs: list[NewJob]
    classes: list[NewClass]
    sandboxes: list[tuple[str, ...]]

    @property
    def archives(self) -> list[str]:
        """All input archives, each once, in order."""
        return sorted({pfn for names in self.sandboxes for pfn in names})


def prepare(texts: Sequence[str], owner: Owner, rules: Workload) -> Prepared:
    """Read, expand and check descriptions.

    Raises:
        InvalidInputError: One of them is at fault; `where` says which, and where in it.
    """
    most = rules.max_jobs_per_submission
    if not texts:
        raise InvalidInputError("there is no job description", hint="Send a list of at least one")
    if len(texts) > most:
        raise TooLargeError(f"{len(texts)} job descriptions; at most {most} are accepted at once")
    limits = _limits(rules)
    maker = _Maker(owner, limits)
    for index, text in enumerate(texts):
        place = f"jdl[{index}]"
        try:
            left = most - len(maker.jobs)
            expanded = parametric.expand(jdls.parse(text), limit=max(left, 1))
        except InvalidInputError as error:
            raise _placed(error, place) from None
        if len(expanded) > left:
            raise TooLargeError(f"these are more than the {most} jobs that are accepted at once", where=place)
        for number, jdl in enumerate(expanded):
            try:
                maker.add(jdl)
            except InvalidInputError as error:
                raise _placed(error, place if len(expanded) == 1 else f"{place} job {number}") from None
    return Prepared(jobs=maker.jobs, classes=list(maker.classes.values()), sandboxes=maker.sandboxes)


class _Maker:
    """Makes jobs from expanded descriptions, and keeps the classes that they are of."""

    def __init__(self, owner: Owner, limits: Limits) -> None:
        self._owner = owner
        self._limits = limits
        self._left = MAX_CHARACTERS
        self.jobs: list[NewJob] = []
        self.classes: dict[str, NewClass] = {}
        self.sandboxes: list[tuple[str, ...]] = []

    def add(self, jdl: Jdl) -> None:
        described = descriptions.from_jdl(jdl, self._limits)
        if len(described.job_type) > _TYPE_LENGTH:
            raise InvalidInputError(f"JobType is longer than {_TYPE_LENGTH} characters", where="JobType")
        names = [SandboxName.parse(entry).pfn for entry in described.input_sandbox if is_reference(entry)]
        status, minor_status = ACCEPTED if described.input_data else WAITING
        text = self._stored(jdl)
        self._left -= len(text)
        if self._left < 0:
            raise TooLargeError(
                f"these jobs have descriptions of more than {MAX_CHARACTERS} characters in all",
                hint="Split the submission, or put long lists into files of the input sandbox",
            )
        self.sandboxes.append(tuple(dict.fromkeys(names)))
        self.jobs.append(
            NewJob(
                digest=self._class_of(described),
                jdl=text,
                status=status,
                minor_status=minor_status,
                site=described.sites[0]
                if len(described.sites) == 1
                else "Multiple"
                if described.sites
                else "ANY",
                job_name=described.job_name,
                job_group=described.job_group,
                job_type=described.job_type,
                priority=described.priority,
            )
        )

    def _class_of(self, described: JobDescription) -> str:
        needs = descriptions.requirements(described)
        digest = descriptions.digest(needs, self._owner.vo, self._owner.group, self._owner.sub)
        if digest not in self.classes:
            self.classes[digest] = NewClass(digest=digest, requirements=msgspec.to_builtins(needs))
        return digest

    def _stored(self, jdl: Jdl) -> str:
        """Print the description with what the server adds; ``%j`` still stands for the identifier."""
        kept = Jdl({name: value for name, value in jdl.items() if name.lower() not in _OURS_LOWER})
        kept["Owner"] = self._owner.username
        kept["OwnerGroup"] = self._owner.group
        kept["VirtualOrganization"] = self._owner.vo
        kept["JobID"] = Bare("%j")
        return jdls.dump(kept)


_OURS_LOWER = frozenset(name.lower() for name in _OURS)


def _limits(rules: Workload) -> Limits:
    return Limits(
        cpu_time_default=min(max(86_400, rules.min_cpu_time), rules.max_cpu_time),
        cpu_time_min=rules.min_cpu_time,
        cpu_time_max=rules.max_cpu_time,
        processors_max=rules.max_processors,
        input_data_max=rules.max_input_data,
    )


def _placed(error: InvalidInputError, place: str) -> InvalidInputError:
    where = f"{place} {error.where}" if error.where else place
    return type(error)(error.message, where=where, hint=error.hint)
