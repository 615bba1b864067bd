"""The native description of jobs: typed, in YAML or JSON; the same as JDL in other words.

::

    executable: simulate.sh
    arguments: --energy %(energy)s
    image: docker://almalinux:9
    resources: {processors: {min: 2, max: 8}, memory: 4000, cpu_time: 36000}
    input: {sandbox: [simulate.sh]}
    output: {sandbox: [std.out, std.err]}
    parameters: {energy: [7, 13]}

Each field stands for one attribute of JDL (`FIELDS`), and both ways lose nothing, so that there is one
meaning and one place that checks it: `dirac.formats.description`. Several jobs are ``jobs: [...]``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

SCHEMA_ID: Final = "urn:dirac:job-description:1"

# Where a parametric description has a number for each job, its field holds a text with a placeholder.
_Placeholder = Annotated[
    str,
    Meta(
        pattern=r"%(s|n|\([A-Za-z0-9_.]{1,128}\)s)",
        max_length=200,
        description="A placeholder of a parametric description: %s, %(name)s or %n",
    ),
]
_Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Number = _Count | _Placeholder
_Texts = (
    Annotated[list[str], Meta(max_length=100_000)]
    | Annotated[str, Meta(description="Stands for a list, with commas between the items")]
)


class _Part(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all parts share: closed to fields that do not exist, and short when printed."""


class Range(_Part):
    """From at least so many to at most so many."""

    min: Annotated[_Number | None, Meta(description="At least so many")] = None
    max: Annotated[_Number | None, Meta(description="At most so many; none if there is no limit")] = None


class Resources(_Part):
    """What a job needs of the machine that runs it."""

    cpu_time: Annotated[_Number | None, Meta(description="Normalised CPU seconds")] = None
    processors: Annotated[_Number | Range | None, Meta(description="An exact number, or a range")] = None
    whole_node: Annotated[
        bool | _Placeholder, Meta(description="Nothing else may run on the node meanwhile")
    ] = False
    memory: Annotated[
        _Number | Range | None, Meta(description="MB that the job needs at least, or a range")
    ] = None
    gpus: Annotated[_Number, Meta(description="Graphics processors")] = 0
    tags: Annotated[_Texts, Meta(description="What the queue must have, all of these")] = []
    platforms: Annotated[_Texts, Meta(description="One of these platforms")] = []


class Places(_Part):
    """Where a job may run; what is left out may be any."""

    sites: Annotated[_Texts, Meta(description="One of these sites")] = []
    banned_sites: Annotated[_Texts, Meta(description="None of these sites")] = []
    computing_elements: Annotated[_Texts, Meta(description="One of these computing elements")] = []


class Input(_Part):
    """What a job takes along and what it reads."""

    sandbox: Annotated[
        _Texts, Meta(description="Local files, LFN:... or SB:...; they are there when the job begins")
    ] = []
    data: Annotated[
        _Texts, Meta(description="Logical file names; the job runs where they are: LFN:/<vo>/...")
    ] = []
    policy: Annotated[str | None, Meta(description="How data are read: download, or a protocol")] = None
    module: Annotated[str | None, Meta(description="Module that makes the data accessible")] = None


class Output(_Part):
    """What comes back of a job."""

    sandbox: Annotated[_Texts, Meta(description="Files and patterns to bring back")] = []
    data: Annotated[_Texts, Meta(description="Files and patterns to store and register")] = []
    storage: Annotated[_Texts, Meta(description="Storage elements for the data")] = []
    path: Annotated[str | None, Meta(description="Where data go below the user's directory")] = None


class Retry(_Part):
    """When a failed job runs again by itself."""

    max: Annotated[_Number | None, Meta(description="Runs after the first")] = None
    exit_codes: Annotated[
        list[int], Meta(description="Only after one of these exit codes; none for any failure")
    ] = []


class Series(_Part):
    """Numbers: `start`, then ever value x `factor` + `step`."""

    count: Annotated[int, Meta(ge=1, description="How many")]
    start: Annotated[int | float, Meta(description="The first one")] = 1
    step: Annotated[int | float, Meta(description="Added each time")] = 1
    factor: Annotated[int | float, Meta(description="Multiplied with each time")] = 1


_Item = str | int | float | bool
Vector = list[_Item | list[_Item]] | Annotated[int, Meta(ge=1)] | Series


class Job(_Part):
    """One job, or as many as its parameters have values."""

    executable: Annotated[
        str, Meta(description="Program: of the input sandbox, in the PATH, or an absolute path")
    ]
    arguments: Annotated[
        str | list[str], Meta(description="A command line as for a shell, or its words one by one")
    ] = ""
    name: Annotated[str | None, Meta(description="Name of the job")] = None
    group: Annotated[str | None, Meta(description="Name of what the job belongs to")] = None
    type: Annotated[str | None, Meta(description="Type of the job, `User` if it is not given")] = None
    priority: Annotated[_Number | None, Meta(description="From 0 to 10; 1 if it is not given")] = None
    image: Annotated[
        str | None, Meta(description="Container for the program: docker://..., or a path (apptainer)")
    ] = None
    environment: Annotated[dict[str, str], Meta(description="Variables for the program")] = {}
    stdout: Annotated[str | None, Meta(description="File for standard output, `std.out`")] = None
    stderr: Annotated[str | None, Meta(description="File for standard error, `std.err`")] = None
    log_level: Annotated[str | None, Meta(description="How much DIRAC says in the job")] = None
    resources: Annotated[Resources, Meta(description="What the job needs")] = msgspec.field(
        default_factory=Resources
    )
    places: Annotated[Places, Meta(description="Where it may run")] = msgspec.field(default_factory=Places)
    input: Annotated[Input, Meta(description="What it takes along")] = msgspec.field(default_factory=Input)
    output: Annotated[Output, Meta(description="What comes back")] = msgspec.field(default_factory=Output)
    depends_on: Annotated[
        _Texts, Meta(description="Names of jobs of the same submission that have to be done before")
    ] = []
    retry: Annotated[Retry, Meta(description="When it runs again by itself")] = msgspec.field(
        default_factory=Retry
    )
    steps: Annotated[_Texts, Meta(description="Steps of the optimisation pipeline, by name")] = []
    parameter: Annotated[Vector | None, Meta(description="Values for %s, one per job")] = None
    parameters: Annotated[dict[str, Vector], Meta(description="Values for %(name)s, one per job")] = {}
    attributes: Annotated[
        dict[str, Any], Meta(description="Further attributes, by the names that JDL gives them")
    ] = {}


class Jobs(_Part):
    """Several jobs, all of which are accepted or none; they may depend on each other."""

    jobs: Annotated[list[Job], Meta(min_length=1, max_length=100_000)]


Parts: Final = (Resources, Places, Input, Output, Retry)
"""The sections of a job."""

# Field by field, the attribute that says the same.
FIELDS: Final[dict[str, str]] = {
    "executable": "Executable",
    "arguments": "Arguments",
    "name": "JobName",
    "group": "JobGroup",
    "type": "JobType",
    "priority": "Priority",
    "image": "ContainerImage",
    "environment": "ExecutionEnvironment",
    "stdout": "StdOutput",
    "stderr": "StdError",
    "log_level": "LogLevel",
    "resources.cpu_time": "CPUTime",
    "resources.processors": "NumberOfProcessors",
    "resources.processors.min": "MinNumberOfProcessors",
    "resources.processors.max": "MaxNumberOfProcessors",
    "resources.whole_node": "WholeNode",
    "resources.memory.min": "MinRAM",
    "resources.memory.max": "MaxRAM",
    "resources.gpus": "NumberOfGPUs",
    "resources.tags": "Tags",
    "resources.platforms": "Platform",
    "places.sites": "Site",
    "places.banned_sites": "BannedSites",
    "places.computing_elements": "GridCE",
    "input.sandbox": "InputSandbox",
    "input.data": "InputData",
    "input.policy": "InputDataPolicy",
    "input.module": "InputDataModule",
    "output.sandbox": "OutputSandbox",
    "output.data": "OutputData",
    "output.storage": "OutputSE",
    "output.path": "OutputPath",
    "depends_on": "DependsOn",
    "retry.max": "MaxRetries",
    "retry.exit_codes": "RetryExitCodes",
    "steps": "JobPath",
}
NAMES: Final = {attribute: field for field, attribute in FIELDS.items()}
"""What a fault of an attribute is called in a native description."""


def schema() -> dict[str, Any]:
    """Return the JSON schema of native descriptions, made from the types."""
    (one, many), parts = msgspec.json.schema_components([Job, Jobs], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Description of one or several jobs",
        "anyOf": [one, many],
        "$defs": parts,
    }
