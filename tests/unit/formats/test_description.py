from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError
from dirac.formats.description import (
    CPU_SEGMENTS,
    JobDescription,
    Limits,
    Requirements,
    digest,
    from_jdl,
    requirements,
    to_jdl,
)
from dirac.formats.jdl import Jdl, dump, parse

LEAST = 'Executable = "/bin/ls";'


def described(text: str, limits: Limits | None = None) -> JobDescription:
    return from_jdl(parse(LEAST + text), limits)


def refused(text: str, limits: Limits | None = None) -> str:
    with pytest.raises(InvalidInputError) as caught:
        from_jdl(parse(text), limits)
    return caught.value.message


def needs(text: str) -> Requirements:
    return requirements(described(text))


def test_the_least_description_has_the_documented_defaults() -> None:
    found = described("")
    assert found == JobDescription(executable="/bin/ls")
    assert (found.std_output, found.std_error, found.job_name, found.job_group) == (
        "std.out",
        "std.err",
        "Name",
        "NoGroup",
    )
    assert (found.job_type, found.cpu_time, found.priority, found.log_level) == ("User", 86400, 1, "INFO")
    assert found.processors() == (1, None)
    assert to_jdl(found) == Jdl({"Executable": "/bin/ls", "CPUTime": 86400})


def test_everything() -> None:
    found = from_jdl(
        parse("""
        executable = run.sh;                    ARGUMENTS = "-a  'b c'\\n";
        StdOutput = "logs/out";                 StdError = "logs/err";
        InputSandbox = {"run.sh", "SB:SE|/S3/x", "LFN:/astro/a/data"};
        OutputSandbox = {"logs/*", "*.txt"};    InputData = "LFN:/astro/a/1, /astro/a/2";
        OutputData = {"result.root", "LFN:/astro/a/b", "LFN:sub/c"}; OutputSE = "DISK";
        JobName = simulation; JobGroup = 2024;  JobType = Test;
        CPUTime = "3600"; Priority = 3.0;       Sites = "LCG.A.ch, LCG.B.ch, LCG.A.ch";
        BannedSite = LCG.C.ch; BannedSites = {LCG.D.ch};
        GridCE = ce.example.org; Platform = "ANY"; Tag = gpu; Tags = {"big", "gpu", ""};
        MinRAM = 2000; MaxRAM = "4000";
        NumberOfProcessors = 4; MinNumberOfProcessors = 2; MaxNumberOfProcessors = 8;
        WholeNode = "yes"; LogLevel = debug;
        ExecutionEnvironment = {"A=1", "B=x=y", "C="};
        InputDataPolicy = "download"; MyOwn = [ Deep = {1, true, word} ];
        """)
    )
    assert found == JobDescription(
        executable="run.sh",
        arguments="-a  'b c'\n",
        std_output="logs/out",
        std_error="logs/err",
        input_sandbox=("run.sh", "SB:SE|/S3/x", "LFN:/astro/a/data"),
        output_sandbox=("logs/*", "*.txt"),
        input_data=("LFN:/astro/a/1", "/astro/a/2"),
        output_data=("result.root", "LFN:/astro/a/b", "LFN:sub/c"),
        output_se=("DISK",),
        job_name="simulation",
        job_group="2024",
        job_type="Test",
        cpu_time=3600,
        priority=3,
        sites=("LCG.A.ch", "LCG.B.ch"),
        banned_sites=("LCG.D.ch", "LCG.C.ch"),
        grid_ces=("ce.example.org",),
        tags=("big", "gpu"),
        min_ram=2000,
        max_ram=4000,
        number_of_processors=4,
        min_number_of_processors=2,
        max_number_of_processors=8,
        whole_node=True,
        log_level="DEBUG",
        environment={"A": "1", "B": "x=y", "C": ""},
        extra={"InputDataPolicy": "download", "MyOwn": {"Deep": [1, True, "word"]}},
    )
    assert type(found.executable) is str
    assert msgspec.json.decode(msgspec.json.encode(found), type=JobDescription) == found
    assert from_jdl(parse(dump(to_jdl(found)))) == found


@pytest.mark.parametrize("site", ["ANY", '"any"', '{"ANY"}', '"LCG.A.ch, Any"', '""', "{}"])
def test_any_site(site: str) -> None:
    assert described(f"Site = {site};").sites == ()


def test_a_nested_environment_and_a_single_variable() -> None:
    assert described('ExecutionEnvironment = [ A = "x"; B = 5 ]').environment == {"A": "x", "B": "5"}
    assert described('ExecutionEnvironment = "A=b,c"').environment == {"A": "b,c"}
    assert described('ExecutionEnvironment = ""').environment == {}


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ("CPUTime = 99", ["CPUTime = 99", "100 to 500000", "normalised seconds"]),
        ("CPUTime = 500001", ["500001"]),
        ('CPUTime = "1h"', ["CPUTime = '1h'", "whole number"]),
        ("CPUTime = 3600.5", ["3600.5"]),
        ("CPUTime = true", ["CPUTime = true"]),
        ("CPUTime = {3600}", ["CPUTime = { 3600 }"]),
        ('CPUTime = ""', ["CPUTime = ''"]),
        ("Priority = 11", ["Priority = 11", "0 to 10"]),
        ("Priority = -1", ["Priority = -1"]),
        ("Arguments = 1.10", ["Arguments = 1.1", "quotes"]),
        ("Arguments = true", ["Arguments = true", "quotes"]),
        ("Arguments = {a}", ["Arguments", "one text"]),
        ('JobName = "a\\nb"', ["JobName", "line breaks"]),
        (f'JobName = "{"x" * 129}"', ["JobName", "at most 128", "129"]),
        (f'Arguments = "{"x" * 70_000}"', ["Arguments", "65536", "70000"]),
        (f'Site = "{"x" * 5000}"', ["Site", "4096"]),
        (f'Site = "{"x" * 200}"', ["Site", "128"]),
        ('Site = {"a b"}', ["Site = 'a b'", "blanks"]),
        ("Tags = { [ a = 1 ] }", ["Tags = [ ... ]", "one text"]),
        ("Tags = { {a} }", ["Tags = { 'a' }"]),
        ('OutputSandbox = {"ok", "/etc/passwd"}', ["OutputSandbox = '/etc/passwd'", "relative"]),
        ('OutputSandbox = "../x"', ["OutputSandbox = '../x'"]),
        ('OutputSandbox = "a/../../x"', ["OutputSandbox"]),
        ('OutputSandbox = "~/x"', ["OutputSandbox"]),
        ('StdOutput = "/tmp/x"', ["StdOutput = '/tmp/x'"]),
        ('StdError = "../x"', ["StdError"]),
        ('OutputData = "/etc/x"', ["OutputData"]),
        ('OutputData = "LFN:/vo/../x"', ["OutputData", "'..'"]),
        ('InputData = "LFN:/vo//x"', ["InputData = 'LFN:/vo//x'", "'//'"]),
        ('InputData = "file"', ["InputData = 'file'", "absolute"]),
        ('InputSandbox = "LFN:x"', ["InputSandbox", "absolute"]),
        ('InputSandbox = {"a\\nb"}', ["InputSandbox"]),
        ("MinRAM = 10; MaxRAM = 5", ["MinRAM = 10", "MaxRAM, which is 5"]),
        ("NumberOfProcessors = 1025", ["1 to 1024"]),
        ("NumberOfProcessors = 0", ["NumberOfProcessors = 0"]),
        ("MinNumberOfProcessors = 4; MaxNumberOfProcessors = 2", ["MinNumberOfProcessors = 4", "which is 2"]),
        ("NumberOfProcessors = 9; MaxNumberOfProcessors = 8", ["NumberOfProcessors = 9", "between"]),
        ("WholeNode = maybe", ["WholeNode = 'maybe'", "true or false"]),
        ("WholeNode = 1.0", ["WholeNode = 1.0"]),
        ("LogLevel = LOUD", ["LogLevel = 'LOUD'", "DEBUG, VERBOSE"]),
        ('Site = "A, B"; BannedSites = "B, A, C"', ["Site = { 'A', 'B' }", "not in BannedSites"]),
        ('ExecutionEnvironment = "novalue"', ["ExecutionEnvironment = 'novalue'", "NAME=value"]),
        ('ExecutionEnvironment = {"1A=x", 5}', ["'1A'", "ExecutionEnvironment = 5"]),
        ("InputDataPolicy = {a}", ["InputDataPolicy", "one text"]),
        ("SoftwarePackages = [ a = 1 ]", ["SoftwarePackages", "one text"]),
        (f'Own = {{ "{"x" * 40_000}", [ B = "{"y" * 40_000}" ] }}', ["Own", "65536"]),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_faults_name_the_attribute_the_value_and_what_is_accepted(attribute: str, words: list[str]) -> None:
    message = refused(LEAST + attribute)
    assert all(word in message for word in words), message
    assert len(message) < 600


@pytest.mark.parametrize(
    "executable",
    ["", 'Executable = "";', 'Executable = "a\\nb";', "Executable = {a};", f'Executable = "{"x" * 5000}";'],
    ids=["none", "empty", "line break", "list", "huge"],
)
def test_an_executable_is_needed(executable: str) -> None:
    assert refused(executable + "A = 1").startswith("1 fault in the description: Executable = ")


def test_nul_in_the_executable_is_refused_however_it_came() -> None:
    with pytest.raises(InvalidInputError, match="control characters"):
        from_jdl(Jdl({"Executable": "a\0b"}))


def test_all_faults_are_reported_at_once() -> None:
    message = refused('CPUTime = 1; Priority = 77; OutputSandbox = {"/a", "/b"}; LogLevel = x')
    assert message.startswith("6 faults")
    assert [
        message.count(word) for word in ("Executable", "CPUTime", "Priority", "OutputSandbox", "LogLevel")
    ] == [*(2, 1, 1, 2, 1)]
    many = refused(LEAST + "OutputSandbox = {" + ",".join(f'"/{n}"' for n in range(200)) + "}")
    assert many.startswith("200 faults")
    assert many.endswith("and 150 more")


def test_lengths_of_lists() -> None:
    files = ",".join(f'"/vo/{n}"' for n in range(501))
    assert "501 files" in refused(LEAST + "InputData = {" + files + "}")
    assert len(described("JobType = Test; InputData = {" + files + "}").input_data) == 501
    assert "at most 500" in refused(LEAST + "Tags = {" + files + "}", Limits(items_max=500))
    assert "at most 1" in refused(
        LEAST + 'ExecutionEnvironment = {"A=1"}; Tags = {a, b}', Limits(items_max=1)
    )
    assert "2 variables" in refused(LEAST + "ExecutionEnvironment = [ A = 1; B = 2 ]", Limits(items_max=1))


def test_an_installation_sets_the_limits() -> None:
    limits = Limits(cpu_time_default=500, cpu_time_max=1000, priority_max=2, job_types=("User", "Merge"))
    assert described("", limits).cpu_time == 500
    assert described("JobType = Merge", limits).job_type == "Merge"
    message = refused(LEAST + "CPUTime = 1001; Priority = 3; JobType = Odd", limits)
    assert "100 to 1000" in message
    assert "0 to 2" in message
    assert "one of User, Merge" in message


def test_to_jdl_keeps_the_interpretation_of_known_attributes() -> None:
    found = JobDescription(executable="x", sites=("A",), extra={"site": "B", "Own": {"a": [1.5]}})
    assert to_jdl(found) == Jdl(
        {"Executable": "x", "CPUTime": 86400, "Site": ["A"], "Own": Jdl({"a": [1.5]})}
    )


@pytest.mark.parametrize(
    ("cpu_time", "segment"), [(100, 360), (360, 360), (361, 1800), (86400, 86400), (86401, 172800)]
)
def test_cpu_time_is_rounded_up(cpu_time: int, segment: int) -> None:
    assert needs(f"CPUTime = {cpu_time}").cpu_time == segment


def test_cpu_time_beyond_the_segments_is_not_understated() -> None:
    assert requirements(JobDescription(executable="x", cpu_time=2_000_000)).cpu_time == 2_000_000
    assert requirements(JobDescription(executable="x", cpu_time=7), segments=(5, 10)).cpu_time == 10


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", ()),
        ("NumberOfProcessors = 1", ()),
        ("NumberOfProcessors = 4", ("4Processors", "MultiProcessor")),
        ("MinNumberOfProcessors = 4; MaxNumberOfProcessors = 4", ("4Processors", "MultiProcessor")),
        ("MinNumberOfProcessors = 2; MaxNumberOfProcessors = 8", ("2Processors", "MultiProcessor")),
        ("MaxNumberOfProcessors = 8", ()),
        ("WholeNode = true; Tags = gpu", ("WholeNode", "gpu")),
        ("Tags = {b, a, b}", ("a", "b")),
    ],
)
def test_tags_that_follow_from_processors(text: str, tags: tuple[str, ...]) -> None:
    assert needs(text).tags == tags


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "",
            "JobType = User; Site = ANY; CPUTime = 86400; Platform = Any; MinNumberOfProcessors = 1",
        ),
        ('Site = "A, B"', "Site = {B, A, A}"),
        ('Site = "A, B"', "Site = {B, A, C}; BannedSites = {C, D}"),
        ("BannedSite = A; BannedSites = B", 'BannedSites = "B,A"'),
        ("NumberOfProcessors = 2", "MinNumberOfProcessors = 2; MaxNumberOfProcessors = 2"),
        ("CPUTime = 50000; JobName = a; Priority = 5; Arguments = x", "CPUTime = 60000"),
    ],
)
def test_equal_needs_are_one_class(one: str, other: str) -> None:
    assert needs(one) == needs(other)
    assert digest(needs(one), "vo", "group", None) == digest(needs(other), "vo", "group", None)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Site = A",
            "BannedSites = A",
            "Platform = A",
            "GridCE = A",
            "Tags = A",
            "MinRAM = 1",
            "MaxRAM = 1",
        ),
        *("JobType = Test", "CPUTime = 100", "WholeNode = 1"),
    ],
)
def test_other_needs_are_another_class(text: str) -> None:
    assert digest(needs(text), "vo", "group", None) != digest(needs(""), "vo", "group", None)


def test_the_owner_belongs_to_the_class() -> None:
    base = needs("")
    made = [
        digest(base, "a", "b", None),
        digest(base, "ab", "", None),
        digest(base, "b", "a", None),
        digest(base, "a", "b", "c"),
        digest(base, "a", "b", ""),
    ]
    assert len(set(made)) == len(made)
    # Stored in databases: it may only change together with a migration.
    assert made[0] == "63ac6dd6bd3e40e11b3ad847d1169874977ea20e453e64b429e8a88cc11c4049"
    assert digest(base, "a", "b", None) == made[0]


names = st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True)
name_lists = st.lists(names, max_size=3)
attributes = st.fixed_dictionaries(
    {"Executable": names},
    optional={
        "Arguments": st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=10),
        "CPUTime": st.integers(100, 500_000) | st.integers(100, 500_000).map(str),
        "Priority": st.integers(0, 10),
        "Site": name_lists | names,
        "BannedSites": name_lists,
        "Platform": name_lists,
        "Tags": name_lists,
        "MinRAM": st.integers(0, 10),
        "MaxRAM": st.integers(10, 20),
        "WholeNode": st.booleans(),
        "NumberOfProcessors": st.integers(1, 1024),
        "InputData": st.lists(names.map("LFN:/vo/d/".__add__), max_size=3),
        "ExecutionEnvironment": st.lists(names.map("V=".__add__), max_size=2),
        "Own": st.integers() | name_lists,
    },
)


@given(attributes)
@settings(deadline=None)
def test_a_description_survives_its_jdl(given_attributes: dict[str, object]) -> None:
    try:
        found = from_jdl(Jdl(given_attributes))  # type: ignore[arg-type]
    except InvalidInputError as error:
        refused_for = str(error)
        assert "BannedSites" in refused_for or "InputData" in refused_for
        return
    again = from_jdl(to_jdl(found))
    assert again == found
    assert requirements(again) == requirements(found)
    assert requirements(found).cpu_time in CPU_SEGMENTS


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=2).map(str),
    max_leaves=5,
)
known = st.sampled_from(
    ["Executable", "CPUTime", "Site", "Tags", "WholeNode", "OutputSandbox", "ExecutionEnvironment", "X"]
)


@given(st.dictionaries(known, anything, max_size=5))
@settings(deadline=None)
def test_any_values_are_accepted_or_refused(values: dict[str, object]) -> None:
    jdl = Jdl({name: value for name, value in values.items() if value is not None})  # type: ignore[misc]
    try:
        found = from_jdl(jdl)
    except InvalidInputError as error:
        refused_for = error.message
        assert "in the description: " in refused_for
    else:
        assert found.executable
