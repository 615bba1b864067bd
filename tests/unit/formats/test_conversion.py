from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats import parametric
from dirac.formats.conversion import dump_json, dump_yaml, from_jdl, is_native, parse, read, to_jdl
from dirac.formats.description import JobDescription
from dirac.formats.description import from_jdl as described
from dirac.formats.description import to_jdl as printed
from dirac.formats.jdl import dump
from dirac.formats.jdl import parse as parse_jdl
from dirac.formats.native import FIELDS, NAMES, Job, Jobs, Parts, schema

EVERYTHING = """
executable: run.sh
arguments: [-n, "two words"]
name: everything
group: "2026"
type: User
priority: 3
image: docker://almalinux:9
environment: {A: "1", B: x=y}
stdout: out
stderr: err
log_level: DEBUG
resources:
  cpu_time: 3600
  processors: {min: 2, max: 8}
  whole_node: true
  memory: {min: 2000, max: 4000}
  gpus: 1
  tags: [big]
  platforms: [el9]
places: {sites: [LCG.A.ch], banned_sites: [LCG.B.ch], computing_elements: [ce1]}
input: {sandbox: run.sh, data: ["LFN:/astro/a"], policy: download, module: M}
output: {sandbox: [out], data: [x.root], storage: [DISK], path: results}
depends_on: [before]
retry: {max: 2, exit_codes: [1, 75]}
steps: [JobSanity]
attributes: {SoftwarePackages: [a, b], Deep: {x: [1, 2.5, true]}}
"""


def one(text: str) -> Job:
    found = parse(text)
    assert isinstance(found, Job)
    return found


def refused(text: str) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        [described(each.jdl, names=each.names) for each in read(text)]
    return caught.value


def test_every_field_means_its_attribute() -> None:
    [found] = read(EVERYTHING)
    assert found.jdl == parse_jdl("""
        Executable = "run.sh"; Arguments = "-n 'two words'"; JobName = "everything"; JobGroup = "2026";
        JobType = "User"; Priority = 3; ContainerImage = "docker://almalinux:9";
        ExecutionEnvironment = {"A=1", "B=x=y"}; StdOutput = "out"; StdError = "err"; LogLevel = "DEBUG";
        CPUTime = 3600; MinNumberOfProcessors = 2; MaxNumberOfProcessors = 8; WholeNode = true;
        MinRAM = 2000; MaxRAM = 4000; NumberOfGPUs = 1; Tags = {"big"}; Platform = {"el9"};
        Site = {"LCG.A.ch"}; BannedSites = {"LCG.B.ch"}; GridCE = {"ce1"};
        InputSandbox = "run.sh"; InputData = {"LFN:/astro/a"}; InputDataPolicy = "download";
        InputDataModule = "M"; OutputSandbox = {"out"}; OutputData = {"x.root"}; OutputSE = {"DISK"};
        OutputPath = "results"; DependsOn = {"before"}; MaxRetries = 2; RetryExitCodes = {1, 75};
        JobPath = {"JobSanity"}; SoftwarePackages = {"a", "b"}; Deep = [ x = {1, 2.5, true} ];
    """)
    assert set(FIELDS.values()) - {str(name) for name in found.jdl} == {"NumberOfProcessors"}


def test_every_field_of_the_types_is_in_the_table() -> None:
    def paths(kind: Any, prefix: str = "") -> set[str]:
        found = set()
        for field in msgspec.structs.fields(kind):
            part = field.default_factory if field.default_factory in Parts else None
            found |= paths(part, f"{prefix}{field.encode_name}.") if part else {prefix + field.encode_name}
        return found

    tops = {path.removesuffix(".min").removesuffix(".max") for path in FIELDS}
    assert paths(Job) - {"parameter", "parameters", "attributes"} == {
        path if path != "retry" else "retry.max" for path in tops
    }


def test_short_forms_are_those_of_ranges() -> None:
    job = one("{executable: x, resources: {processors: 4, memory: 500}}")
    assert to_jdl(job) == parse_jdl("Executable = x; NumberOfProcessors = 4; MinRAM = 500;")
    assert (
        from_jdl(to_jdl(job)).resources
        == one("{executable: x, resources: {processors: 4, memory: {min: 500}}}").resources
    )


@pytest.mark.parametrize(
    ("text", "native"),
    [
        ("executable: /bin/ls", True),
        ("# why\n\nexecutable: /bin/ls", True),
        ('{"executable": "/bin/ls"}', True),
        ("---\nexecutable: /bin/ls", True),
        ('"executable": /bin/ls', True),
        ("jobs:\n- executable: x", True),
        ('Executable = "a: b";', False),
        ('# {\n[ Executable = "x"; ]', False),
        ('[Executable = "x"]', False),
        ("", False),
    ],
)
def test_the_form_is_seen_in_the_text(text: str, native: bool) -> None:
    assert is_native(text) is native


def test_parameters_in_all_their_forms() -> None:
    text = """
        executable: x
        arguments: "%s %(e)s %(f)s %(g)s"
        resources: {cpu_time: "%(e)s", whole_node: "%(g)s"}
        parameter: 2
        parameters: {e: [100, 200], f: {count: 2, start: 0.5, factor: 2}, g: ["true", "no"]}
    """
    [found] = read(text)
    jobs = parametric.expand(found.jdl, limit=10)
    assert [str(job["Arguments"]) for job in jobs] == ["1 100 0.5 true", "2 200 2.0 no"]
    assert [described(job).cpu_time for job in jobs] == [100, 200]
    assert from_jdl(found.jdl) == one(text)


def test_a_text_of_a_parametric_description_may_bring_commas() -> None:
    jdl = parse_jdl('Executable = x; InputData = "%s"; Parameters = {"/v/a, /v/b", "/v/c"};')
    again = to_jdl(from_jdl(jdl))
    data = [described(job).input_data for job in parametric.expand(again, limit=9)]
    assert data == [("/v/a", "/v/b"), ("/v/c",)]


def test_several_jobs() -> None:
    found = read("jobs: [{executable: a, name: first}, {executable: b, depends_on: [first]}]")
    assert [each.place for each in found] == ["jobs[0]", "jobs[1]"]
    assert [described(each.jdl).depends_on for each in found] == [(), ("first",)]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("executable: [1]", "executable", "Expected `str`"),
        ("{executable: x, resources: {cpu_tme: 1}}", "resources", "unknown field `cpu_tme`"),
        ("jobs: [{executable: x}, {arguments: y}]", "jobs[1]", "missing required field `executable`"),
        (
            "{executable: x, resources: {cpu_time: many}}",
            "resources.cpu_time",
            "a number, or a text with a placeholder",
        ),
        ("executable: &a x\nname: *a", "line 2 column 7", "aliases"),
        ("executable: x\nexecutable: y", "line 2 column 1", "given twice"),
        ("executable: x\n  y: z", "line 2 column 4", "no YAML"),
        ("executable: !!python/name:os.system", "line 1 column 13", "constructor"),
        ("{" * 60, "line 1 column 41", "nested deeper"),
        ("{executable: x, attributes: {cputime: 5}}", "attributes.cputime", "field of its own"),
        ("{executable: x, attributes: {Parameters: 5}}", "attributes.Parameters", "field of its own"),
        ("{executable: x, attributes: {A: null}}", "attributes.A", "no form in JDL"),
        ("{executable: x, parameters: {a: 1, A: 1}}", "parameters", "given twice"),
        ("jobs: [{executable: x, attributes: {A: null}}]", "jobs[0].attributes.A", "no form"),
    ],
)
def test_faults_say_where(text: str, where: str, what: str) -> None:
    fault = refused(text)
    assert fault.where == where
    assert what in fault.message


def test_values_are_checked_as_those_of_jdl_under_the_names_that_were_written() -> None:
    fault = refused("{executable: x, resources: {cpu_time: 1}, image: --bind=/, environment: {'a b': '1'}}")
    assert "3 faults" in fault.message
    for name in ("resources.cpu_time = 1", "image = '--bind=/'", "environment = 'a b'"):
        assert name in fault.message


def test_large_texts_are_refused() -> None:
    with pytest.raises(TooLargeError, match="as YAML"):
        parse("executable: " + "x" * (1 << 20))
    with pytest.raises(TooLargeError):
        parse('{"executable": "' + "x" * (16 << 20) + '"}')


def test_the_schema_is_that_of_the_types_and_says_what_every_field_means() -> None:
    found = schema()
    json.dumps(found)
    assert set(found["$defs"]["Job"]["properties"]) == {f.encode_name for f in msgspec.structs.fields(Job)}
    for name, part in found["$defs"].items():
        for field, content in part["properties"].items():
            assert "description" in content or name in ("Jobs",), f"{name}.{field}"


def test_what_has_no_native_form_is_refused() -> None:
    for text in ("Tags = {1.5};", "CPUTime = soon;", 'ExecutionEnvironment = {"%s"}; Parameters = {"A=1"};'):
        with pytest.raises(InvalidInputError):
            from_jdl(parse_jdl("Executable = x;" + text))


_word = st.text("abcXYZ019_.", min_size=1, max_size=8).filter(lambda text: not text.startswith("."))
_words = st.lists(_word, max_size=3, unique=True).map(tuple)
_free = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20).map(str.strip)
_descriptions = st.builds(
    JobDescription,
    executable=_word,
    arguments=_free,
    std_output=_word,
    input_sandbox=_words,
    output_sandbox=_words,
    input_data=st.lists(_word.map("/vo/d/".__add__), max_size=3, unique=True).map(tuple),
    job_name=_word,
    cpu_time=st.integers(100, 500_000),
    priority=st.integers(0, 10),
    sites=_words.filter(lambda words: not any(word.upper() == "ANY" for word in words)),
    tags=_words,
    min_ram=st.integers(0, 1000),
    max_ram=st.sampled_from([0, 1000, 2000]),
    number_of_processors=st.none() | st.integers(3, 5),
    min_number_of_processors=st.integers(1, 3),
    max_number_of_processors=st.none() | st.integers(5, 9),
    whole_node=st.booleans(),
    gpus=st.integers(0, 3),
    environment=st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), _free, max_size=3),
    image=st.sampled_from(["", "docker://debian:12", "/cvmfs/x/y", "box.sif"]),
    depends_on=_words,
    max_retries=st.none() | st.integers(0, 9),
    job_path=st.lists(st.sampled_from(["JobSanity", "My.Step-2"]), unique=True).map(tuple),
    extra=st.dictionaries(
        st.from_regex(r"Own[a-z]{1,5}", fullmatch=True),
        st.recursive(_free | st.integers(-9, 9) | st.booleans(), lambda below: st.lists(below, max_size=2)),
        max_size=2,
    ),
)


def without_idle_range(one: JobDescription) -> JobDescription:
    """A range beside an exact number of processors says nothing."""
    if one.number_of_processors is None:
        return one
    changed = msgspec.structs.replace(one, min_number_of_processors=1, max_number_of_processors=None)
    assert changed.processors() == one.processors()
    return changed


@settings(max_examples=100, deadline=None)
@given(_descriptions)
def test_a_description_survives_all_forms(given_one: JobDescription) -> None:
    jdl = printed(given_one)
    job = from_jdl(jdl)
    for text in (dump_yaml(job), dump_json(job), dump(to_jdl(job))):
        [again] = read(text)
        assert described(again.jdl) == without_idle_range(given_one)
    assert parse(dump_yaml(job)) == parse(dump_json(job)) == job


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,4}", fullmatch=True),
        st.lists(st.integers(-5, 5) | _free | st.booleans(), min_size=2, max_size=2)
        | st.just(2)
        | st.fixed_dictionaries({"count": st.just(2), "step": st.sampled_from([-3, 0, 2, 0.5])}),
        min_size=1,
        max_size=3,
    )
)
def test_parameters_survive_all_forms(vectors: dict[str, Any]) -> None:
    arguments = " ".join(f"%({name})s" for name in vectors)
    job = msgspec.convert({"executable": "x", "arguments": arguments, "parameters": vectors}, Job)
    assert from_jdl(parse_jdl(dump(to_jdl(job)))) == job
    assert parse(dump_yaml(job)) == job


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.from_regex(r"(\{|executable:)[\x20-\x7e\n]{0,50}", fullmatch=True))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = read(text)
    except InvalidInputError:
        return
    assert found


def test_names_are_those_of_the_table() -> None:
    assert NAMES["CPUTime"] == "resources.cpu_time"
    assert isinstance(parse("jobs: [{executable: x}]"), Jobs)
    assert yaml.safe_load(dump_yaml(one("{executable: x, parameter: 2}"))) == {
        "executable": "x",
        "parameter": 2,
    }
