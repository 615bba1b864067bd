from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dirac.client.cwl import translate
from dirac.core.errors import InvalidInputError
from dirac.formats.conversion import to_jdl
from dirac.formats.description import from_jdl
from dirac.formats.native import Job, Range

LEAST: dict[str, Any] = {
    "cwlVersion": "v1.2",
    "class": "CommandLineTool",
    "baseCommand": "echo",
    "inputs": {},
    "outputs": {},
}


def translated(directory: Path, values: dict[str, Any] | None = None, /, **parts: Any) -> Job:
    """Translate a tool, and see that what comes out is a description."""
    tool = directory / "tool.cwl"
    tool.write_text(yaml.safe_dump(LEAST | parts))
    inputs = None
    if values is not None:
        inputs = directory / "values.yaml"
        inputs.write_text(yaml.safe_dump(values))
    job = translate(tool, inputs)
    from_jdl(to_jdl(job))
    return job


def refused(directory: Path, values: dict[str, Any] | None = None, /, **parts: Any) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        translated(directory, values, **parts)
    return caught.value


def test_a_tool_becomes_a_job(tmp_path: Path) -> None:
    job = translated(
        tmp_path,
        {
            "data": {"class": "File", "path": "a.txt"},
            "many": [1, 2],
            "far": {"class": "File", "location": "LFN:/v/b"},
        },
        baseCommand=["wc", "-l"],
        requirements={
            "DockerRequirement": {"dockerPull": "debian:12"},
            "EnvVarRequirement": {"envDef": {"WHO": "$(inputs.who)", "FILE": "x-$(inputs.data.nameroot)"}},
            "ResourceRequirement": {"coresMin": 2, "coresMax": 4, "ramMin": 1000},
        },
        inputs={
            "data": {"type": "File", "inputBinding": {"position": 2}},
            "far": {"type": "File"},
            "who": {"type": "string", "default": "you there"},
            "many": {"type": "int[]", "inputBinding": {"prefix": "-n", "itemSeparator": ","}},
            "flag": {"type": "boolean", "default": True, "inputBinding": {"prefix": "--flag"}},
            "none": {"type": "string?", "inputBinding": {"prefix": "--none"}},
        },
        arguments=[{"prefix": "--to=", "separate": False, "valueFrom": "$(inputs.who)", "position": 1}],
        stdout="$(inputs.data.nameroot).out",
        outputs={
            "out": {"type": "stdout"},
            "logs": {"type": "File[]", "outputBinding": {"glob": ["*.log", "$(inputs.who).txt"]}},
        },
        temporaryFailCodes=[75],
    )
    assert job.executable == "wc"
    assert job.arguments == ["-l", "--flag", "-n", "1,2", "--to=you there", "a.txt"]
    assert (job.name, job.image, job.stdout) == ("tool", "docker://debian:12", "a.out")
    assert job.environment == {"WHO": "you there", "FILE": "x-a"}
    assert job.resources.processors == Range(min=2, max=4)
    assert job.resources.memory == Range(min=1049)
    assert job.input.sandbox == [str(tmp_path / "a.txt")]
    assert job.input.data == ["LFN:/v/b"]
    assert job.output.sandbox == ["*.log", "you there.txt", "a.out"]
    assert (job.retry.max, job.retry.exit_codes) == (3, [75])


def test_words_are_sorted_by_position_then_arguments_then_names(tmp_path: Path) -> None:
    binding = {"type": "string", "default": "x", "inputBinding": {}}
    job = translated(
        tmp_path,
        inputs={
            "b": binding | {"default": "b"},
            "a": binding | {"default": "a"},
            "first": binding | {"default": "first", "inputBinding": {"position": -1}},
        },
        arguments=["one", "two"],
    )
    assert job.arguments == ["first", "one", "two", "a", "b"]


def test_hints_may_be_left_alone(tmp_path: Path) -> None:
    job = translated(
        tmp_path,
        hints={
            "SoftwareRequirement": {"packages": []},
            "ResourceRequirement": {"coresMin": 3, "coresMax": 3},
            "http://commonwl.org/cwltool#CUDARequirement": {"cudaDeviceCountMin": 2},
        },
    )
    assert (job.resources.processors, job.resources.gpus) == (3, 2)


@pytest.mark.parametrize(
    ("parts", "where", "what"),
    [
        (
            {"requirements": {"ShellCommandRequirement": {}}},
            "requirements.ShellCommandRequirement",
            "no form",
        ),
        (
            {"requirements": {"InitialWorkDirRequirement": {"listing": []}}},
            "requirements.InitialWorkDirRequirement",
            "no form",
        ),
        (
            {"requirements": {"ResourceRequirement": {"tmpdirMin": 5}}},
            "requirements.ResourceRequirement.tmpdirMin",
            "disk space",
        ),
        (
            {"requirements": {"DockerRequirement": {"dockerFile": "FROM x"}}},
            "requirements.DockerRequirement.dockerFile",
            "cannot be made",
        ),
        ({"arguments": ["${return 1;}"]}, "arguments[0]", "JavaScript"),
        ({"arguments": ["$(inputs.x + 1)"]}, "arguments[0]", "JavaScript"),
        ({"arguments": ["$(inputs.nobody)"]}, "arguments[0]", "not known"),
        ({"arguments": ["$(runtime.outdirSize)"]}, "arguments[0]", "not known"),
        ({"stdin": "x"}, "stdin", "no standard input"),
        ({"successCodes": [0, 3]}, "successCodes", "only exit code 0"),
        ({"inputs": {"x": {"type": "int"}}}, "inputs.x", "no value"),
        ({"inputs": {"x": {"type": "int", "default": "a"}}}, "inputs.x", "not of the type int"),
        (
            {"inputs": {"x": {"type": {"type": "record", "fields": {}}, "default": {"a": 1}}}},
            "inputs.x",
            "records",
        ),
        ({"outputs": {"y": {"type": "string"}}}, "outputs.y", "only files"),
        (
            {"outputs": {"y": {"type": "File", "outputBinding": {"glob": "a", "outputEval": "$(self[0])"}}}},
            "outputs.y",
            "outputEval",
        ),
        ({"baseCommand": []}, "baseCommand", "nothing to run"),
    ],
)
def test_what_has_no_form_in_a_job_is_refused_with_its_place(
    tmp_path: Path, parts: dict[str, Any], where: str, what: str
) -> None:
    fault = refused(tmp_path, **parts)
    assert fault.where == where
    assert what in fault.message


def test_values_are_those_of_inputs(tmp_path: Path) -> None:
    assert "no input 'y'" in refused(tmp_path, {"y": 1}).message
    inputs = {"x": {"type": "File"}}
    assert (
        "cannot be taken along"
        in refused(
            tmp_path, {"x": {"class": "File", "location": "https://example.org/x"}}, inputs=inputs
        ).message
    )
    assert (
        "another name"
        in refused(tmp_path, {"x": {"class": "File", "path": "a", "basename": "b"}}, inputs=inputs).message
    )


def test_other_processes_and_other_files_are_refused(tmp_path: Path) -> None:
    workflow = {"class": "Workflow", "steps": {}}
    (tmp_path / "w.cwl").write_text(
        yaml.safe_dump({k: v for k, v in (LEAST | workflow).items() if k != "baseCommand"})
    )
    with pytest.raises(InvalidInputError, match="this is a Workflow"):
        translate(tmp_path / "w.cwl")
    (tmp_path / "x.cwl").write_text("class: Nothing\ncwlVersion: v1.2\n")
    with pytest.raises(InvalidInputError, match="this is no CWL"):
        translate(tmp_path / "x.cwl")
    with pytest.raises(InvalidInputError, match="no such file"):
        translate(tmp_path / "gone.cwl")
