"""Between the forms of a description: JDL, YAML, JSON.

`read` takes any of them, and is what a server and a client use; `to_jdl` and `from_jdl` go between the native
types and JDL, and lose nothing: placeholders of parametric descriptions are kept as they are.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats import jdl as jdls
from dirac.formats._attributes import as_whole, plain, truth_of
from dirac.formats.jdl import Jdl, Value
from dirac.formats.native import FIELDS, NAMES, Job, Jobs, Range, Series, Vector
from dirac.formats.parametric import SERIES, as_number, has_placeholder, is_parameter

MAX_NATIVE_BYTES: Final = 16 << 20
"""Size of a native description, which may hold many jobs."""

# A native text begins as a mapping of YAML or JSON does; everything else is JDL.
_skip = re.compile(r"(?:[ \t\r\n\ufeff]++|#[^\n]*+)*").match
_native = re.compile(r'\{|---(?=\s)|%YAML|(?:"[^"\n]*+"|[A-Za-z_]\w*+)[ \t]*+:(?=\s)').match
_NO_NAMES: Final[Mapping[str, str]] = {}
_ALIASES: Final = {
    "sites": "Site",
    "bannedsite": "BannedSites",
    "gridces": "GridCE",
    "platforms": "Platform",
    "tag": "Tags",
}
_ATTRIBUTES: Final = {attribute.lower(): attribute for attribute in FIELDS.values()}
_NUMBERS: Final = frozenset(
    (
        *("Priority", "CPUTime", "NumberOfProcessors", "MinNumberOfProcessors", "MaxNumberOfProcessors"),
        *("MinRAM", "MaxRAM", "NumberOfGPUs", "MaxRetries"),
    )
)
_RANGE_OF_PROCESSORS: Final = ("MinNumberOfProcessors", "MaxNumberOfProcessors")
_LISTS: Final = frozenset(
    (
        *("Tags", "Platform", "Site", "BannedSites", "GridCE", "InputSandbox", "InputData", "OutputSandbox"),
        *("OutputData", "OutputSE", "DependsOn", "JobPath"),
    )
)


class Described(NamedTuple):
    """One description of a text.

    Attributes:
        jdl: Its attributes, not checked and not expanded yet.
        names: What they are called in the text that was written.
        place: Where in the text it is, empty if it is all of it.
    """

    jdl: Jdl
    names: Mapping[str, str]
    place: str


def is_native(text: str) -> bool:
    """Tell whether a text is YAML or JSON, not JDL."""
    if text.startswith("["):
        return False
    start = _skip(text)
    return _native(text, start.end() if start else 0) is not None


def read(text: str) -> list[Described]:
    """Read a text in any of the forms; JDL describes one job (or one parametric one), the others several.

    Raises:
        InvalidInputError: It is not well-formed, or a field has a wrong type; `where` says where.
    """
    if not is_native(text):
        return [Described(jdls.parse(text), _NO_NAMES, "")]
    found = parse(text)
    if isinstance(found, Job):
        return [Described(to_jdl(found), NAMES, "")]
    described = []
    for number, job in enumerate(found.jobs):
        place = f"jobs[{number}]"
        try:
            described.append(Described(to_jdl(job), NAMES, place))
        except InvalidInputError as error:
            error.where = f"{place}.{error.where}" if error.where else place
            raise
    return described


def parse(text: str) -> Job | Jobs:
    """Read a native description.

    Raises:
        TooLargeError: It is larger than `MAX_NATIVE_BYTES`.
        InvalidInputError: It is neither YAML nor JSON, or a field is unknown or of a wrong type.
    """
    if len(text) > MAX_NATIVE_BYTES:
        raise TooLargeError(f"the description is larger than the {MAX_NATIVE_BYTES} bytes that are accepted")
    data = _loaded(text)
    if not isinstance(data, dict):
        raise InvalidInputError("the description is no mapping of fields", hint="write: executable: ...")
    kind: type[Job | Jobs] = Jobs if "jobs" in data else Job
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        place = where.rstrip("`").lstrip(".") or None
        if "matching regex" in what:
            what = "accepted is a number, or a text with a placeholder: %s, %(name)s or %n"
        hint = "`dirac job describe --schema` prints what there is"
        raise InvalidInputError(what, where=place, hint=hint) from None


def _loaded(text: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            pass  # YAML has a form in braces as well; if it is neither, its message has a place
    from dirac.formats._yaml import load  # late: JSON and JDL need no YAML

    return load(text)


def to_plain(found: Job | Jobs) -> dict[str, Any]:
    """Return the types of JSON, without what says nothing."""
    if isinstance(found, Jobs):
        return {"jobs": [to_plain(job) for job in found.jobs]}
    return {name: value for name, value in msgspec.to_builtins(found).items() if value not in ({}, [])}


def dump_json(found: Job | Jobs) -> str:
    """Print as JSON."""
    return msgspec.json.format(msgspec.json.encode(to_plain(found)), indent=2).decode() + "\n"


def dump_yaml(found: Job | Jobs) -> str:
    """Print as YAML."""
    from dirac.formats._yaml import dump

    return dump(to_plain(found))


def to_jdl(job: Job) -> Jdl:
    """Return the attributes that say what a native description says.

    Raises:
        InvalidInputError: A further attribute has a field of its own, or a value that JDL does not have.
    """
    jdl = Jdl()
    for path, attribute in FIELDS.items():
        value = _of_path(job, path)
        if value is None or value == "" or value == [] or value == {}:
            continue
        if value in (0, False) and path in ("resources.gpus", "resources.whole_node"):
            continue
        if attribute == "Arguments" and isinstance(value, list):
            value = shlex.join(value)
        elif attribute == "ExecutionEnvironment":
            value = [f"{name}={content}" for name, content in value.items()]
        jdl[attribute] = value
    if job.parameter is not None:
        _put_vector(jdl, "", job.parameter)
    for name, vector in job.parameters.items():
        _put_vector(jdl, "." + name, vector)
    for name, value in job.attributes.items():
        _put_further(jdl, name, value)
    return jdl


def _of_path(job: Job, path: str) -> Any:
    """Return what a field holds; a range and its short form share two places."""
    value: Any = job
    for part in path.split("."):
        if part in ("min", "max") and not isinstance(value, msgspec.Struct):
            # `memory: 4000` is the least; an exact number of processors has an attribute of its own.
            return value if path == "resources.memory.min" else None
        value = getattr(value, part)
    return None if isinstance(value, Range) else value


def _put_vector(jdl: Jdl, suffix: str, vector: Vector) -> None:
    if "Parameters" + suffix in jdl:
        raise InvalidInputError(f"the parameter {suffix[1:]!r} is given twice", where="parameters")
    if not isinstance(vector, Series):
        jdl["Parameters" + suffix] = vector if isinstance(vector, int) else _as_value(vector)
        return
    jdl["Parameters" + suffix] = vector.count
    for name in ("start", "step", "factor"):
        number = getattr(vector, name)
        if number != 1 or isinstance(number, float):
            jdl[f"Parameter{name.capitalize()}{suffix}"] = number


def _put_further(jdl: Jdl, name: str, value: Any) -> None:
    where = f"attributes.{name}"
    known = _ATTRIBUTES.get(name.lower()) or _ALIASES.get(name.lower())
    if known is not None:
        raise InvalidInputError(f"{name} has a field of its own", where=where, hint=f"use `{NAMES[known]}`")
    if is_parameter(name):
        raise InvalidInputError(f"{name} has a field of its own", where=where, hint="use `parameters`")
    try:
        jdl[name] = _as_value(value)
    except InvalidInputError as error:
        error.where = where
        raise


def _as_value(value: Any) -> Value:
    if isinstance(value, dict):
        return Jdl({str(name): _as_value(item) for name, item in value.items()})
    if isinstance(value, list):
        return [_as_value(item) for item in value]
    if isinstance(value, str | int | float):
        return value
    raise InvalidInputError(f"{value!r} has no form in JDL", hint="use texts, numbers, lists and mappings")


def from_jdl(jdl: Jdl) -> Job:
    """Return the native description that says what these attributes say.

    Raises:
        InvalidInputError: An attribute is of a wrong type.
    """
    fields: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for name, value in jdl.items():
        attribute = _ATTRIBUTES.get(name.lower()) or _ALIASES.get(name.lower())
        if attribute in _RANGE_OF_PROCESSORS and "NumberOfProcessors" in jdl:
            continue  # an exact number has the last word
        if attribute is not None:
            _set(fields, NAMES[attribute], _native_value(attribute, name, value))
        elif not is_parameter(name):
            attributes[name] = plain(value)[0]
    vectors = dict(_vectors(jdl))
    if "" in vectors:
        fields["parameter"] = vectors.pop("")
    try:
        return msgspec.convert(fields | {"parameters": vectors, "attributes": attributes}, Job)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"this has no native form: {error}") from None


def _set(fields: dict[str, Any], path: str, value: Any) -> None:
    """Put a value where its field is; what is given under two names is joined."""
    *parts, last = path.split(".")
    place = fields
    for part in parts:
        place = place.setdefault(part, {})
    if isinstance(place.get(last), list) and isinstance(value, list):
        place[last] = [*place[last], *value]
    else:
        place[last] = value


def _native_value(attribute: str, name: str, value: Value) -> Any:
    convert: Callable[[str, Value], Any] = _text
    if attribute in _NUMBERS:
        convert = _number
    elif attribute in _LISTS:
        convert = _texts
    elif attribute == "RetryExitCodes":
        convert = _codes
    elif attribute == "WholeNode":
        convert = _flag
    elif attribute == "ExecutionEnvironment":
        convert = _environment
    return convert(name, value)


def _fault(name: str, value: Value, accepted: str) -> InvalidInputError:
    return InvalidInputError(f"{name} = {str(value)[:60]!r}: accepted is {accepted}", where=name)


def _text(name: str, value: Value) -> str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise _fault(name, value, "one text")


def _number(name: str, value: Value) -> int | str:
    if isinstance(value, str) and has_placeholder(value):
        return str(value)
    number = as_whole(value)
    if number is None:
        raise _fault(name, value, "a whole number")
    return number


def _texts(name: str, value: Value) -> list[str] | str:
    if isinstance(value, str) and has_placeholder(value):
        return str(value)  # the values may bring commas with them
    items = list[Value](value.split(",")) if isinstance(value, str) else value
    texts = [_text(name, item).strip() for item in (items if isinstance(items, list) else [items])]
    return [text for text in texts if text]


def _codes(name: str, value: Value) -> list[int]:
    texts = _texts(name, value)
    codes = [as_whole(text) for text in texts] if isinstance(texts, list) else [None]
    if None in codes:
        raise _fault(name, value, "whole numbers")
    return [code for code in codes if code is not None]


def _flag(name: str, value: Value) -> bool | str:
    if isinstance(value, str) and has_placeholder(value):
        return str(value)
    truth = False if value == "" else truth_of(value)
    if truth is None:
        raise _fault(name, value, "true or false")
    return truth


def _environment(name: str, value: Value) -> dict[str, str]:
    if isinstance(value, Jdl):
        return {variable: _text(f"{name}.{variable}", content) for variable, content in value.items()}
    found = {}
    for item in value if isinstance(value, list) else [value] if value != "" else []:
        variable, equals, content = str(item).partition("=")
        if not equals:
            raise _fault(name, item, 'a list of "NAME=value"')
        found[variable.strip()] = content
    return found


def _vectors(jdl: Jdl) -> list[tuple[str, Any]]:
    """Return the parameters by name; that of the unnamed one is empty."""
    found: list[tuple[str, Any]] = []
    for attribute, value in jdl.items():
        kind, _, name = attribute.lower().partition(".")
        if kind != "parameters":
            continue
        if isinstance(value, list):
            found.append((name, [_item(attribute, item) for item in value]))
            continue
        suffix = "." + name if name else ""
        series: dict[str, Any] = {"count": as_number(value)}
        for key in SERIES:
            if key + suffix in jdl:
                series[key.removeprefix("parameter")] = as_number(jdl[key + suffix])
        if None in series.values():
            raise _fault(attribute, value, "a number of values, or a list of them")
        found.append((name, series["count"] if len(series) == 1 else series))
    return found


def _item(attribute: str, item: Value) -> Any:
    if isinstance(item, Jdl):
        raise _fault(attribute, item, "texts, numbers and lists")
    return [_item(attribute, below) for below in item] if isinstance(item, list) else plain(item)[0]
