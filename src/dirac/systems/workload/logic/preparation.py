"""From the texts of a submission to jobs that can be inserted; pure, so that it can run in a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats import description as descriptions
from dirac.formats import jdl as jdls
from dirac.formats import parametric
from dirac.formats.conversion import Described, read
from dirac.formats.description import JobDescription
from dirac.formats.jdl import Bare, Jdl
from dirac.formats.parametric import MAX_CHARACTERS
from dirac.systems.configuration.models import Workload
from dirac.systems.workload.logic.dependencies import Dependent, resolved
from dirac.systems.workload.logic.rules import limits, site_of
from dirac.systems.workload.logic.steps import needs_pipeline
from dirac.systems.workload.models import JobStatus
from dirac.systems.workload.ports.pipeline import Handling
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
        handling: What has to be done for jobs, by their places in `jobs`; most are absent.
        needs: Pairs of a job and one that it depends on, by their places.
    """

    jobs: list[NewJob]
    classes: list[NewClass]
    sandboxes: list[tuple[str, ...]]
    handling: dict[int, Handling] = {}
    needs: list[tuple[int, int]] = []

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
    maker = _Maker(owner, rules)
    for index, text in enumerate(texts):
        place = f"jdl[{index}]"
        try:
            found = read(text)
        except InvalidInputError as error:
            raise _placed(error, place) from None
        for one in found:
            _add(maker, one, f"{place} {one.place}".rstrip(), rules)
    needs = resolved(maker.dependencies, [job.job_name for job in maker.jobs])
    for _, needed in needs:
        maker.handling[needed] = maker.handling.get(needed, Handling(0)) | Handling.NEEDED
    return Prepared(
        jobs=maker.jobs,
        classes=list(maker.classes.values()),
        sandboxes=maker.sandboxes,
        handling=maker.handling,
        needs=needs,
    )


def _add(maker: _Maker, one: Described, place: str, rules: Workload) -> None:
    """Add the jobs of one description."""
    most = rules.max_jobs_per_submission
    left = most - len(maker.jobs)
    try:
        expanded = parametric.expand(one.jdl, limit=max(min(left, rules.max_parametric_jobs), 1))
    except InvalidInputError as error:
        raise _placed(error, place) from None
    if len(expanded) > left:
        raise TooLargeError(f"these are more than the {most} jobs that are accepted at once", where=place)
    for number, jdl in enumerate(expanded):
        where = place if len(expanded) == 1 else f"{place} job {number}"
        try:
            maker.add(jdl, one.names, where)
        except InvalidInputError as error:
            raise _placed(error, where) from None


class _Maker:
    """Makes jobs from expanded descriptions, and keeps the classes that they are of."""

    def __init__(self, owner: Owner, rules: Workload) -> None:
        self._owner = owner
        self._limits = limits(rules)
        self._path = rules.job_path
        self._left = MAX_CHARACTERS
        self.jobs: list[NewJob] = []
        self.classes: dict[str, NewClass] = {}
        self.sandboxes: list[tuple[str, ...]] = []
        self.handling: dict[int, Handling] = {}
        self.dependencies: list[Dependent] = []

    def add(self, jdl: Jdl, names: Mapping[str, str], where: str) -> None:
        described = descriptions.from_jdl(jdl, self._limits, names)
        if len(described.job_type) > _TYPE_LENGTH:
            raise InvalidInputError(f"JobType is longer than {_TYPE_LENGTH} characters", where="JobType")
        archives = [SandboxName.parse(entry).pfn for entry in described.input_sandbox if is_reference(entry)]
        piped = needs_pipeline(described, self._path)
        status, minor_status = ACCEPTED if piped else WAITING
        text = self._stored(jdl)
        self._left -= len(text)
        if self._left < 0:
            raise TooLargeError(
                f"these jobs have descriptions of more than {MAX_CHARACTERS} characters in all",
                hint="Split the submission, or put long lists into files of the input sandbox",
            )
        self.sandboxes.append(tuple(dict.fromkeys(archives)))
        if piped or described.max_retries:
            retried = Handling.RETRIED if described.max_retries else Handling(0)
            self.handling[len(self.jobs)] = retried | (Handling.PIPED if piped else Handling(0))
        if described.depends_on:
            self.dependencies.append(Dependent(len(self.jobs), described.depends_on, where))
        self.jobs.append(
            NewJob(
                digest=self._class_of(described),
                jdl=text,
                status=status,
                minor_status=minor_status,
                site=site_of(described.sites),
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


def _placed(error: InvalidInputError, place: str) -> InvalidInputError:
    where = f"{place} {error.where}" if error.where else place
    return type(error)(error.message, where=where, hint=error.hint)
