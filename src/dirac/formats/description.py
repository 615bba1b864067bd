"""The description of one job, typed and checked, and the requirements that decide where it may run."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from dirac.formats import _checks
from dirac.formats._attributes import AttributeReader
from dirac.formats.jdl import Jdl, Value

# Seconds of normalised CPU time to which requirements are rounded up, so that there are few classes of jobs.
CPU_SEGMENTS: Final = (
    *(360, 1800, 3600, 21600, 43200, 86400, 172800, 259200, 345600),
    *(518400, 691200, 864000, 1080000),
)

_MAX_RAM = 100_000_000
_MOST_GPUS = 64
# Legal, kept in `extra` for whoever acts on them, and yet of a known type.
_KEPT_TEXTS = (
    "InputDataPolicy",
    "InputDataModule",
    "OutputPath",
    "SoftwareDistModule",
    "SystemConfig",
    "JobConfigArgs",
)
_KEPT_LISTS = ("SoftwarePackages", "SubmitPool", "PilotOptions")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation accepts.

    Attributes:
        cpu_time_default: Normalised seconds of a job that does not say.
        cpu_time_min: Least normalised seconds.
        cpu_time_max: Most normalised seconds.
        priority_min: Least priority.
        priority_max: Greatest priority.
        processors_max: Most processors of one job.
        input_data_max: Most files of input data of a job of type ``User``.
        retries_max: Most runs that a job may ask for after a failed one.
        job_types: Types of jobs; empty: any.
        steps: Names of the steps of the optimisation pipeline that may be asked for; empty: any.
        items_max: Longest list.
        text_max: Most characters of a text.
        name_max: Most characters of the name, group and type of a job.
        arguments_max: Most characters of the arguments, and of an attribute that is not interpreted.
    """

    cpu_time_default: int = 86_400
    cpu_time_min: int = 100
    cpu_time_max: int = 500_000
    priority_min: int = 0
    priority_max: int = 10
    processors_max: int = 1024
    input_data_max: int = 500
    retries_max: int = 100
    job_types: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    items_max: int = 10_000
    text_max: int = 4096
    name_max: int = 128
    arguments_max: int = 65_536


UNDERSTOOD: Final = Limits(
    cpu_time_min=0,
    cpu_time_max=2**31,
    priority_min=-(2**31),
    priority_max=2**31,
    processors_max=2**16,
    input_data_max=10**6,
    items_max=10**6,
)
"""For descriptions that were checked when they were stored: rules change, and they still have a meaning."""


class JobDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one job is and needs; an empty list of places means any.

    Attributes:
        executable: Program, found in the sandbox, on the path or in the software area.
        arguments: Its command line, split by the worker node as a shell would.
        cpu_time: Normalised CPU seconds.
        sites: Where the job may run, before `banned_sites` are taken away.
        min_ram: Least memory in MB, 0 if it does not matter.
        max_ram: Most memory in MB, 0 if it does not matter.
        number_of_processors: Exact number, if one was asked for.
        max_number_of_processors: None if there is no upper bound.
        gpus: Graphics processors that the job needs.
        environment: Variables for the payload.
        image: Container in which the worker node runs the program, as apptainer names it; empty: none.
        depends_on: Names of jobs of the same submission that have to be done before this one may run.
        max_retries: Runs that a failed job gets after its first; None if it does not say.
        retry_exit_codes: Only a run that ended with one of these is tried again; empty: any that failed.
        job_path: Steps of the optimisation pipeline, in the place of the configured ones.
        extra: Attributes that are not interpreted here, as plain values under the names they were given.
            Among them may be some that only the server may set, such as ``Owner``: never believe these.
    """

    executable: str
    arguments: str = ""
    std_output: str = "std.out"
    std_error: str = "std.err"
    input_sandbox: tuple[str, ...] = ()
    output_sandbox: tuple[str, ...] = ()
    input_data: tuple[str, ...] = ()
    output_data: tuple[str, ...] = ()
    output_se: tuple[str, ...] = ()
    job_name: str = "Name"
    job_group: str = "NoGroup"
    job_type: str = "User"
    cpu_time: int = 86_400
    priority: int = 1
    sites: tuple[str, ...] = ()
    banned_sites: tuple[str, ...] = ()
    grid_ces: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    min_ram: int = 0
    max_ram: int = 0
    number_of_processors: int | None = None
    min_number_of_processors: int = 1
    max_number_of_processors: int | None = None
    whole_node: bool = False
    gpus: int = 0
    log_level: str = "INFO"
    environment: dict[str, str] = {}
    image: str = ""
    depends_on: tuple[str, ...] = ()
    max_retries: int | None = None
    retry_exit_codes: tuple[int, ...] = ()
    job_path: tuple[str, ...] = ()
    extra: dict[str, Any] = {}

    def processors(self) -> tuple[int, int | None]:
        """Return the least and the greatest useful number of processors; None if there is no greatest."""
        if self.number_of_processors is not None:
            return self.number_of_processors, self.number_of_processors
        return self.min_number_of_processors, self.max_number_of_processors


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """What a resource must offer, normalised: equal needs are equal values.

    Attributes:
        cpu_time: Normalised seconds, rounded up to a segment.
        sites: Sites that will do, banned ones already removed, sorted; empty: any.
        banned_sites: Sites that will not do, sorted; empty if `sites` is not.
        grid_ces: Computing elements that will do, sorted; empty: any.
        platforms: Platforms that will do, sorted; empty: any.
        tags: Tags of which the resource must offer all, sorted, with those that follow from the processors.
        min_ram: Least memory in MB, 0 if it does not matter.
        max_ram: Most memory in MB, 0 if it does not matter.
        gpus: Graphics processors that the resource must have.
        job_type: Type of the job.
    """

    cpu_time: int
    sites: tuple[str, ...] = ()
    banned_sites: tuple[str, ...] = ()
    grid_ces: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    min_ram: int = 0
    max_ram: int = 0
    gpus: int = 0
    job_type: str = "User"


def from_jdl(
    jdl: Jdl, limits: Limits | None = None, names: Mapping[str, str] | None = None
) -> JobDescription:
    """Check the description of one job; raise one InvalidInputError that lists all faults.

    Parameters must be expanded by then. Each fault names the attribute, its value and what is accepted.

    Args:
        jdl: The description.
        limits: What is accepted.
        names: What to call attributes in messages, for descriptions that were not written as JDL.
    """
    limits = limits or Limits()
    read = AttributeReader(jdl, text_max=limits.text_max, items_max=limits.items_max, names=names or {})
    description = JobDescription(
        executable=_executable(read),
        arguments=read.lines("Arguments", longest=limits.arguments_max),
        std_output=read.text("StdOutput", "std.out", check=_checks.relative),
        std_error=read.text("StdError", "std.err", check=_checks.relative),
        input_sandbox=read.texts("InputSandbox", check=_checks.sandbox_file),
        output_sandbox=read.texts("OutputSandbox", check=_checks.relative),
        input_data=read.texts("InputData", check=_checks.logical),
        output_data=read.texts("OutputData", check=_checks.output_file),
        output_se=read.texts("OutputSE", check=_checks.plain_name),
        job_name=read.text("JobName", "Name", longest=limits.name_max),
        job_group=read.text("JobGroup", "NoGroup", longest=limits.name_max),
        job_type=read.text(
            "JobType", "User", longest=limits.name_max, check=_checks.one_of(limits.job_types)
        ),
        cpu_time=_cpu_time(read, limits),
        priority=_or(read.number("Priority", limits.priority_min, limits.priority_max), 1),
        sites=read.texts("Site", "Sites", check=_checks.plain_name, any_word=True),
        banned_sites=read.texts("BannedSites", "BannedSite", check=_checks.plain_name),
        grid_ces=read.texts("GridCE", "GridCEs", check=_checks.plain_name, any_word=True),
        platforms=read.texts("Platform", "Platforms", check=_checks.plain_name, any_word=True),
        tags=read.texts("Tags", "Tag", check=_checks.plain_name),
        min_ram=_or(read.number("MinRAM", 0, _MAX_RAM, "MB"), 0),
        max_ram=_or(read.number("MaxRAM", 0, _MAX_RAM, "MB"), 0),
        number_of_processors=read.number("NumberOfProcessors", 1, limits.processors_max),
        min_number_of_processors=_or(read.number("MinNumberOfProcessors", 1, limits.processors_max), 1),
        max_number_of_processors=read.number("MaxNumberOfProcessors", 1, limits.processors_max),
        whole_node=read.flag("WholeNode"),
        gpus=_or(read.number("NumberOfGPUs", 0, _MOST_GPUS), 0),
        log_level=read.text("LogLevel", "INFO", check=_checks.log_level).upper(),
        environment=read.environment("ExecutionEnvironment"),
        **(_rare(read, limits) if any(name in jdl for name in _RARE) else {}),
        extra=read.remaining(longest=limits.arguments_max),
    )
    _check_together(read, description, limits)
    read.raise_faults()
    return description


# Most descriptions have none of these, and reading each costs as much as reading one that is there.
_RARE: Final = ("ContainerImage", "DependsOn", "MaxRetries", "RetryExitCodes", "JobPath")


def _rare(read: AttributeReader, limits: Limits) -> dict[str, Any]:
    return {
        "image": read.text("ContainerImage", check=_checks.container),
        "depends_on": read.texts("DependsOn"),
        "max_retries": read.number("MaxRetries", 0, limits.retries_max),
        "retry_exit_codes": read.numbers("RetryExitCodes", 1, 255),
        "job_path": read.texts("JobPath", check=_checks.step_of(limits.steps)),
    }


def _check_together(read: AttributeReader, found: JobDescription, limits: Limits) -> None:
    """Check what no attribute shows by itself."""
    for name in _KEPT_TEXTS:
        read.expect_text(name)
    for name in _KEPT_LISTS:
        read.expect_texts(name)
    if found.sites and not set(found.sites) - set(found.banned_sites):
        read.fault("Site", list(found.sites), "at least one site that is not in BannedSites as well")
    if found.job_type == "User" and len(found.input_data) > limits.input_data_max:
        most = f"at most {limits.input_data_max} for a job of type User"
        read.fault("InputData", f"{len(found.input_data)} files", most)
    if found.max_ram and found.min_ram > found.max_ram:
        read.fault("MinRAM", found.min_ram, f"at most MaxRAM, which is {found.max_ram}")
    least, most_processors = found.min_number_of_processors, found.max_number_of_processors
    if most_processors is not None and least > most_processors:
        read.fault(
            "MinNumberOfProcessors", least, f"at most MaxNumberOfProcessors, which is {most_processors}"
        )
    if found.retry_exit_codes and found.max_retries is None:
        read.fault("RetryExitCodes", list(found.retry_exit_codes), "only together with MaxRetries")
    exact = found.number_of_processors
    if exact is not None and not least <= exact <= (most_processors or exact):
        read.fault(
            "NumberOfProcessors", exact, "a number between MinNumberOfProcessors and MaxNumberOfProcessors"
        )


def _executable(read: AttributeReader) -> str:
    before = len(read.faults)
    executable = read.text("Executable")
    if not executable and len(read.faults) == before:
        read.fault("Executable", "", 'the program to run; it is mandatory: Executable = "/bin/hostname";')
    return executable


def _cpu_time(read: AttributeReader, limits: Limits) -> int:
    given = read.number("CPUTime", limits.cpu_time_min, limits.cpu_time_max, "normalised seconds")
    return _or(given, limits.cpu_time_default)


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


# Field by field, the attribute that carries it.
_ATTRIBUTES: Final = {
    "executable": "Executable",
    "arguments": "Arguments",
    "std_output": "StdOutput",
    "std_error": "StdError",
    "input_sandbox": "InputSandbox",
    "output_sandbox": "OutputSandbox",
    "input_data": "InputData",
    "output_data": "OutputData",
    "output_se": "OutputSE",
    "job_name": "JobName",
    "job_group": "JobGroup",
    "job_type": "JobType",
    "cpu_time": "CPUTime",
    "priority": "Priority",
    "sites": "Site",
    "banned_sites": "BannedSites",
    "grid_ces": "GridCE",
    "platforms": "Platform",
    "tags": "Tags",
    "min_ram": "MinRAM",
    "max_ram": "MaxRAM",
    "number_of_processors": "NumberOfProcessors",
    "min_number_of_processors": "MinNumberOfProcessors",
    "max_number_of_processors": "MaxNumberOfProcessors",
    "whole_node": "WholeNode",
    "gpus": "NumberOfGPUs",
    "image": "ContainerImage",
    "depends_on": "DependsOn",
    "max_retries": "MaxRetries",
    "retry_exit_codes": "RetryExitCodes",
    "job_path": "JobPath",
    "log_level": "LogLevel",
}


def to_jdl(description: JobDescription) -> Jdl:
    """Return the attributes that say the same, without those whose default does; CPUTime is always there."""
    jdl = Jdl()
    defaults = JobDescription(executable="", cpu_time=-1)
    for field, attribute in _ATTRIBUTES.items():
        value = getattr(description, field)
        if value != getattr(defaults, field):
            jdl[attribute] = list(value) if isinstance(value, tuple) else value
    if description.environment:
        jdl["ExecutionEnvironment"] = [f"{name}={value}" for name, value in description.environment.items()]
    for name, value in description.extra.items():
        jdl.setdefault(name, _value(value))
    return jdl


def _value(plain: Any) -> Value:
    if isinstance(plain, dict):
        return Jdl({name: _value(item) for name, item in plain.items()})
    if isinstance(plain, list):
        return [_value(item) for item in plain]
    value: Value = plain
    return value


def requirements(description: JobDescription, *, segments: tuple[int, ...] = CPU_SEGMENTS) -> Requirements:
    """Return what a job needs of a resource.

    A job of one processor has no tag for it, because every resource has one. A job of at least n > 1 has
    ``<n>Processors`` and ``MultiProcessor``: resources offer ``1Processors`` to ``<their number>Processors``.

    Args:
        description: The job.
        segments: Ascending CPU times to round up to; a longer one stays as it is.
    """
    place = bisect_left(segments, description.cpu_time)
    banned = set(description.banned_sites)
    tags = set(description.tags)
    least, _ = description.processors()
    if least > 1:
        tags |= {f"{least}Processors", "MultiProcessor"}
    if description.whole_node:
        tags.add("WholeNode")
    return Requirements(
        cpu_time=segments[place] if place < len(segments) else description.cpu_time,
        sites=tuple(sorted(set(description.sites) - banned)),
        banned_sites=() if description.sites else tuple(sorted(banned)),
        grid_ces=tuple(sorted(set(description.grid_ces))),
        platforms=tuple(sorted(set(description.platforms))),
        tags=tuple(sorted(tags)),
        min_ram=description.min_ram,
        max_ram=description.max_ram,
        gpus=description.gpus,
        job_type=description.job_type,
    )


def digest(needs: Requirements, vo: str, owner_group: str, owner: str | None) -> str:
    """Return the SHA-256, in hexadecimal, that names the class of jobs with these needs and this owner.

    Args:
        needs: Result of `requirements`.
        vo: The virtual organisation.
        owner_group: The group.
        owner: The user, where shares are per user; None where the group is one.
    """
    defaults = msgspec.structs.asdict(Requirements(cpu_time=0))
    # Without defaults, so that a field that is added one day leaves the classes that exist as they are.
    stated = {name: value for name, value in msgspec.structs.asdict(needs).items() if value != defaults[name]}
    identity = {"needs": stated, "owner": owner, "owner_group": owner_group, "vo": vo}
    return hashlib.sha256(msgspec.json.encode(identity, order="sorted")).hexdigest()
