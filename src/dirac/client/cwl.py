"""A CWL ``CommandLineTool`` as a description of a job; what has no meaning there is refused, with its place.

Needs the extra ``cwl`` (cwl-utils). Everything happens here, before anything is sent: servers know no CWL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dirac.client.cwl_words import FileValue, Scope, as_text, bound, refuse, value_of
from dirac.core.errors import InvalidInputError
from dirac.formats.lfn import is_lfn
from dirac.formats.native import Input, Job, Output, Range, Resources, Retry

_MIB = 1024 * 1024 / 1e6
_RETRIES = 3
_STDOUT, _STDERR = "std.out", "std.err"
# What jobs do anyway, or what only says that expressions may be used: each is looked at by itself.
_HARMLESS = frozenset(
    ("InlineJavascriptRequirement", "NetworkAccess", "WorkReuse", "InplaceUpdateRequirement")
)


def translate(tool_file: Path, inputs_file: Path | None = None) -> Job:
    """Return the job that a tool with these inputs is.

    Args:
        tool_file: The tool, CWL v1.0 to v1.2.
        inputs_file: Values of its inputs, in YAML or JSON; local files are relative to it.

    Raises:
        InvalidInputError: It cannot be read, an input has no value, or a part of it has no form in a job.
    """
    tool = _loaded(tool_file)
    translation = _Translation(tool, _values(tool, tool_file, inputs_file))
    translation.requirements()
    return translation.job(tool_file.stem)


def _loaded(tool_file: Path) -> Any:
    try:
        from cwl_utils.parser import load_document_by_uri
        from schema_salad.exceptions import SchemaSaladException
    except ImportError:
        refuse(str(tool_file), "reading CWL needs a library", "pip install 'dirac-interware[cwl]'")
    if not tool_file.is_file():
        refuse(str(tool_file), "there is no such file")
    try:
        tool = load_document_by_uri(tool_file.resolve().as_uri())
    except SchemaSaladException as error:
        raise InvalidInputError(f"this is no CWL: {error}", where=str(tool_file)) from None
    except Exception as error:  # the parser lets errors of its own libraries through
        raise InvalidInputError(f"this is no CWL: {error}", where=str(tool_file)) from None
    kind = getattr(tool, "class_", "a list of processes")
    if kind != "CommandLineTool":
        refuse(
            str(tool_file), f"this is a {kind}; a job is one CommandLineTool", "submit its steps one by one"
        )
    return tool


def _values(tool: Any, tool_file: Path, inputs_file: Path | None) -> dict[str, Any]:
    """Return the values of all inputs by name, those without any as None."""
    given: dict[str, Any] = {}
    base = tool_file.resolve().parent
    if inputs_file is not None:
        from dirac.formats._yaml import load

        try:
            found = load(inputs_file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            refuse(str(inputs_file), f"it cannot be read: {error}")
        if not isinstance(found, dict):
            refuse(str(inputs_file), "this is no mapping of inputs to values")
        given = found
    names = {_name(one.id): one for one in tool.inputs}
    if unknown := sorted(set(given) - set(names)):
        refuse(
            str(inputs_file), f"the tool has no input {unknown[0]!r}", f"it has {', '.join(names) or 'none'}"
        )
    values = {}
    for name, one in names.items():
        where = f"inputs.{name}"
        if getattr(one, "secondaryFiles", None) or getattr(one, "loadContents", None):
            refuse(where, "secondaryFiles and loadContents have no form in a job")
        if given.get(name) is not None:
            values[name] = value_of(given[name], inputs_file.resolve().parent if inputs_file else base, where)
        elif one.default is not None:
            values[name] = value_of(one.default, base, where)
        elif _optional(one.type_):
            values[name] = None
        else:
            refuse(where, "it has no value", "give one with --inputs FILE")
        _check_type(one.type_, values[name], where)
    return values


def _name(identifier: str) -> str:
    return identifier.rpartition("#")[2].rpartition("/")[2]


def _optional(kind: Any) -> bool:
    return kind == "null" or (isinstance(kind, list) and "null" in kind)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "long": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "double": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "File": lambda value: isinstance(value, FileValue),
    "Directory": lambda value: isinstance(value, FileValue),
    "Any": lambda value: value is not None,
}


def _check_type(kind: Any, value: Any, where: str) -> None:
    if not _has_type(kind, value, where):
        refuse(where, f"{as_text(value)!r} is not of the type {_type_name(kind)}")


def _has_type(kind: Any, value: Any, where: str) -> bool:
    if isinstance(kind, list):
        return any(_has_type(one, value, where) for one in kind)
    if isinstance(kind, str):
        if kind not in _TYPES:
            refuse(where, f"the type {kind!r} has no form in a job")
        return _TYPES[kind](value)
    if symbols := getattr(kind, "symbols", None):
        return value in [_name(symbol) for symbol in symbols]
    if getattr(kind, "inputBinding", None) is not None or not hasattr(kind, "items"):
        refuse(where, "records, and bindings of items, have no form in a job")
    return isinstance(value, list) and all(_has_type(kind.items, item, where) for item in value)


def _type_name(kind: Any) -> str:
    if isinstance(kind, list):
        return " or ".join(map(_type_name, kind))
    return kind if isinstance(kind, str) else str(getattr(kind, "type_", "this"))


class _Translation:
    """One tool on its way to a job."""

    def __init__(self, tool: Any, values: Mapping[str, Any]) -> None:
        self.tool = tool
        self.values = values
        self.resources = Resources()
        self.image: str | None = None
        self.environment: dict[str, str] = {}
        self.runtime: dict[str, Any] = {"outdir": ".", "tmpdir": "."}

    def evaluate(self, value: Any, where: str, current: Any = None) -> Any:
        return Scope(self.values, self.runtime, current).evaluate(value, where)

    def requirements(self) -> None:
        """Map what the tool requires; of hints, those that can be."""
        for one in self.tool.hints or []:
            try:
                self._requirement(one, "hints")
            except InvalidInputError:
                continue  # a hint may be left alone
        for one in self.tool.requirements or []:
            self._requirement(one, "requirements")

    def _requirement(self, one: Any, section: str) -> None:
        fields = dict(one) if isinstance(one, Mapping) else vars(one)
        kind = str(fields.get("class") or fields.get("class_")).rpartition(":")[2].rpartition("#")[2]
        where = f"{section}.{kind}"
        given = {name: value for name, value in fields.items() if value is not None}
        if kind == "DockerRequirement":
            self._image(given, where)
        elif kind == "EnvVarRequirement":
            for definition in one.envDef:
                value = self.evaluate(definition.envValue, f"{where}.{definition.envName}")
                self.environment[definition.envName] = as_text(value)
        elif kind == "ResourceRequirement":
            self._resources(given, where)
        elif kind == "CUDARequirement":
            count = self.evaluate(given.get("cudaDeviceCountMin", 1), where)
            self.resources = msgspec.structs.replace(self.resources, gpus=_whole(count, where))
        elif kind not in _HARMLESS:
            refuse(where, f"{kind} has no form in a job")

    def _image(self, given: Mapping[str, Any], where: str) -> None:
        for name in ("dockerLoad", "dockerFile", "dockerImport", "dockerOutputDirectory"):
            if name in given:
                refuse(f"{where}.{name}", "images cannot be made on worker nodes", "publish it: dockerPull")
        image = given.get("dockerPull") or given.get("dockerImageId")
        if not image:
            refuse(where, "it names no image", "add dockerPull")
        self.image = image if "://" in image or image.startswith("/") else f"docker://{image}"

    def _resources(self, given: Mapping[str, Any], where: str) -> None:
        for name in ("tmpdirMin", "tmpdirMax", "outdirMin", "outdirMax"):
            if name in given:
                refuse(f"{where}.{name}", "disk space cannot be asked for", "leave it out")
        amounts = {
            name: _whole(self.evaluate(given[name], f"{where}.{name}"), f"{where}.{name}")
            for name in ("coresMin", "coresMax", "ramMin", "ramMax")
            if name in given
        }
        least, most = amounts.get("coresMin"), amounts.get("coresMax")
        processors: int | Range | None = least if least == most else Range(min=least, max=most)
        megabytes = {
            name: math.ceil(amounts[name] * _MIB) for name in ("ramMin", "ramMax") if name in amounts
        }
        memory = Range(min=megabytes.get("ramMin"), max=megabytes.get("ramMax")) if megabytes else None
        self.resources = msgspec.structs.replace(self.resources, processors=processors, memory=memory)
        self.runtime |= {"cores": amounts.get("coresMin", 1)}
        if "ramMin" in amounts:
            self.runtime["ram"] = amounts["ramMin"]

    def job(self, name: str) -> Job:
        """Return the job."""
        if self.tool.stdin:
            refuse("stdin", "a job has no standard input", "let the program read the file")
        if [code for code in self.tool.successCodes or [] if code != 0]:
            refuse("successCodes", "only exit code 0 is success", "let a script turn the others into 0")
        words = self._words()
        if not words:
            refuse("baseCommand", "there is nothing to run")
        temporary = [code for code in self.tool.temporaryFailCodes or [] if 0 < code < 256]
        local, data = self._files()
        stdout, stderr = (
            None if given is None else as_text(self.evaluate(given, where))
            for given, where in ((self.tool.stdout, "stdout"), (self.tool.stderr, "stderr"))
        )
        return Job(
            executable=words[0],
            arguments=words[1:],
            name=name,
            image=self.image,
            environment=self.environment,
            stdout=stdout,
            stderr=stderr,
            resources=self.resources,
            input=Input(sandbox=local, data=data),
            output=Output(sandbox=self._outputs(stdout or _STDOUT, stderr or _STDERR)),
            retry=Retry(max=_RETRIES, exit_codes=temporary) if temporary else Retry(),
        )

    def _words(self) -> list[str]:
        base = self.tool.baseCommand
        words = [base] if isinstance(base, str) else list(base or [])
        parts: list[tuple[tuple[int, int, int | str], list[str]]] = []
        for index, argument in enumerate(self.tool.arguments or []):
            where = f"arguments[{index}]"
            binding = None if isinstance(argument, str) else argument
            given = argument if binding is None else binding.valueFrom
            value = self.evaluate(given, where)
            parts.append(((self._position(binding, where), 0, index), bound(value, binding, where)))
        for one in self.tool.inputs:
            binding, name = one.inputBinding, _name(one.id)
            if binding is None:
                continue
            where = f"inputs.{name}"
            value = self.values[name]
            if binding.valueFrom is not None and value is not None:
                value = self.evaluate(binding.valueFrom, where, value)
            position = self._position(binding, where, self.values[name])
            parts.append(((position, 1, name), bound(value, binding, where)))
        return words + [word for _, part in sorted(parts, key=lambda part: part[0]) for word in part]

    def _position(self, binding: Any, where: str, current: Any = None) -> int:
        position = getattr(binding, "position", None)
        return 0 if position is None else _whole(self.evaluate(position, where, current), where)

    def _files(self) -> tuple[list[str], list[str]]:
        """Return local files and logical file names among the inputs."""
        found: dict[str, None] = {}
        for value in self.values.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, FileValue):
                    found[item.location] = None
        return [name for name in found if not is_lfn(name)], [name for name in found if is_lfn(name)]

    def _outputs(self, stdout: str, stderr: str) -> list[str]:
        patterns: dict[str, None] = {}
        for one in self.tool.outputs:
            where = f"outputs.{_name(one.id)}"
            if one.type_ in ("stdout", "stderr"):
                patterns[stdout if one.type_ == "stdout" else stderr] = None
                continue
            binding = one.outputBinding
            if binding is None or not binding.glob:
                refuse(where, "only files can come back: it needs outputBinding.glob")
            if binding.outputEval or binding.loadContents or getattr(one, "secondaryFiles", None):
                refuse(where, "outputEval, loadContents and secondaryFiles have no form in a job")
            globs = self.evaluate(binding.glob, where) if isinstance(binding.glob, str) else binding.glob
            for pattern in globs if isinstance(globs, list) else [globs]:
                patterns[as_text(self.evaluate(pattern, where))] = None
        return list(patterns)


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(where, f"{as_text(value)!r} is no number")
    return math.ceil(value)
