from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats import jdl
from dirac.formats.jdl import Bare, Jdl, dump, parse

REALISTIC = """
# submitted by hand
[
    Executable = "dirac-jobexec";    // the workflow
    Arguments = "jobDescription.xml -o LogLevel=INFO";
    JobGroup = jobGroup; Site = ANY;
    InputSandbox = {
        /path/to/local/file.ext,   /* not uploaded yet */
        "SB:ProductionSandboxSE|/SandBox/a/alice.user/1/2/3.tar.bz2"
    };
    OutputSandbox =
      {
        Script1_CodeOutput.log,
        std.err
      };
    Priority = 1;
    Offset = -2.5;
    WholeNode = True;
    ExecutionEnvironment = [ HOME_DIR = "/tmp" ; Nested = [ a = {1, {2}} ] ];
    Parameters.energy = { 1.5, 3 };
]
"""


def strict(value: object) -> object:
    """Make equality tell 1 from True and from 1.0."""
    if isinstance(value, Jdl):
        return [(name, strict(item)) for name, item in value.items()]
    if isinstance(value, list):
        return [strict(item) for item in value]
    kind = str if isinstance(value, str) else type(value)
    return (kind, value, str(value))


def fault(text: str, **limits: int) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        parse(text, **limits)
    return caught.value


def assert_located(error: InvalidInputError) -> None:
    assert re.fullmatch(r"line \d+ column \d+", error.where or "")
    assert error.message


def test_a_realistic_description() -> None:
    found = parse(REALISTIC)
    assert strict(found) == strict(
        Jdl(
            {
                "Executable": "dirac-jobexec",
                "Arguments": "jobDescription.xml -o LogLevel=INFO",
                "JobGroup": "jobGroup",
                "Site": "ANY",
                "InputSandbox": [
                    "/path/to/local/file.ext",
                    "SB:ProductionSandboxSE|/SandBox/a/alice.user/1/2/3.tar.bz2",
                ],
                "OutputSandbox": ["Script1_CodeOutput.log", "std.err"],
                "Priority": 1,
                "Offset": -2.5,
                "WholeNode": True,
                "ExecutionEnvironment": Jdl({"HOME_DIR": "/tmp", "Nested": Jdl({"a": [1, [2]]})}),
                "Parameters.energy": [1.5, 3],
            }
        )
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"x"', "x"),
        ('""', ""),
        (r'"say \"hi\" \\ \n\t\r"', 'say "hi" \\ \n\t\r'),
        (r'"\d+\.txt"', r"\d+\.txt"),
        ('"# no // comment /* here"', "# no // comment /* here"),
        ('"ünï"', "ünï"),
        ("0", 0),
        ("-17", -17),
        ("9223372036854775807", 2**63 - 1),
        ("1.50", 1.5),
        ("-0.0", -0.0),
        ("2.0e-3", 0.002),
        ("true", True),
        ("FALSE", False),
        ("007", Bare("007")),
        ("1e5", Bare("1e5")),
        ("-", Bare("-")),
        ("LCG.CERN.ch", Bare("LCG.CERN.ch")),
        ("LCG.CERN.ch, LCG.PIC.es", Bare("LCG.CERN.ch, LCG.PIC.es")),
        ("root://host//path", Bare("root://host//path")),
        ("job#1", Bare("job#1")),
        ('other.CPU > 5 && Site == "a;b"', Bare('other.CPU > 5 && Site == "a;b"')),
        ("-o LogLevel=INFO", Bare("-o LogLevel=INFO")),
        ("%(name)s", Bare("%(name)s")),
        ("{}", []),
        ("{ 1, a=b, }", [1, "a=b"]),
        ("[]", Jdl()),
    ],
)
def test_values(written: str, value: object) -> None:
    for text in (f"A = {written};", f"A={written}", f"[A = {written} ]", f"A = {written} // end\n ; B = 1"):
        found = parse(text)["A"]
        assert strict(found) == strict(value)
        assert isinstance(found, Bare) == isinstance(value, Bare)


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", "line 1 column 1", "empty"),
        (" \n\t# only a comment\n", "line 3 column 1", "empty"),
        ("A", "line 1 column 2", "expected '=' after 'A', found the end of the text"),
        ("A = ", "line 1 column 5", "expected a value, found the end of the text"),
        ("A = ;", "line 1 column 5", "expected a value, found ';'"),
        ("A == 1", "line 1 column 3", "expected '=' after 'A', found '=='"),
        ("= 1", "line 1 column 1", "expected the name of an attribute, found '='"),
        ("1A = 2", "line 1 column 1", "expected the name of an attribute, found '1A'"),
        ('"A" = 2', "line 1 column 1", "expected the name of an attribute"),
        ("A = 1;\nB = 2;\n  a = 3", "line 3 column 3", "'a' is given twice, first at line 1 column 1"),
        ("A = 1\nB = 2", "line 2 column 1", "expected ';' after the value of 'A', found 'B'"),
        ("A = foo B = 2", "line 1 column 11", "expected ';' before the next attribute"),
        ('A = foo B="x"', "line 1 column 9", "expected ';' before the next attribute"),
        ('A = "x" "y"', "line 1 column 9", "expected ';'"),
        ('\nA = "x', "line 2 column 5", "string does not end"),
        ('A = "x\n";', "line 1 column 5", "string does not end"),
        ('A = "x\\', "line 1 column 5", "string does not end"),
        ('A = {"x", "y}', "line 1 column 11", "string does not end"),
        ('A = b "c', "line 1 column 7", "string does not end"),
        ("A = {1, 2", "line 1 column 5", "list is not closed"),
        ("A = {1 2}", "line 1 column 8", "expected ',' or '}'"),
        ("A = {1; 2}", "line 1 column 7", "the list that begins at line 1 column 5, found ';'"),
        ("A = {,}", "line 1 column 6", "expected a value, found ','"),
        ("[ A = 1;", "line 1 column 1", "'[' is not closed"),
        ("A = [ B = 1;\n", "line 1 column 5", "'[' is not closed"),
        ("A = 1 ]", "line 1 column 7", "']' closes nothing"),
        ("A = }", "line 1 column 5", "expected a value, found '}'"),
        ("[ A = 1 ] B", "line 1 column 11", "expected the end of the text"),
        ("A = 1 /* open", "line 1 column 7", "comment is not closed"),
        ("/*", "line 1 column 1", "comment is not closed"),
        ("A = \N{LEFT DOUBLE QUOTATION MARK}x", "line 1 column 5", "expected a value"),
        ("A = 1;\nB = \x00", "line 2 column 5", "U+0000"),
        ('A = "\x1b[0m"', "line 1 column 6", "U+001B"),
        ('A = "\udc80"', "line 1 column 6", "U+DC80"),
        ("A = 9223372036854775808", "line 1 column 5", "out of range"),
        pytest.param("A = {" + "9" * 5000 + "}", "line 1 column 6", "out of range", id="5000 digits"),
        ("A = 1.0e999", "line 1 column 5", "out of range"),
        ("A" * 129 + " = 1", "line 1 column 1", "name of at most 128"),
    ],
)
def test_faults_say_where_and_what(text: str, where: str, words: str) -> None:
    error = fault(text)
    assert error.where == where
    assert words in error.message
    assert len(str(error)) < 400


def test_a_fault_of_syntax_comes_with_a_hint() -> None:
    assert fault("A 1").hint
    assert fault("A = foo bar\nB = 1").hint


def test_limits() -> None:
    assert type(fault("A = 1;" * 100, max_bytes=599)) is TooLargeError
    assert type(fault('A = "' + "ü" * 100 + '"', max_bytes=205)) is TooLargeError
    assert parse('A = "' + "ü" * 100 + '"', max_bytes=206)
    assert "3 attributes" in fault("A=1; B=[ C=1; D=2 ]", max_attributes=3).message
    assert parse("A=1; B=[ C=1; D=2 ]", max_attributes=4)
    assert "2 that are accepted" in fault("A={ {} }", max_depth=2).message
    assert parse("A={ { [ B = 1 ] } }", max_depth=4)["A"] == [[Jdl({"B": 1})]]


@pytest.mark.parametrize("opening", ["{", "[A=", "{[A="])
def test_depth_never_exhausts_the_stack(opening: str) -> None:
    error = fault("A=" + opening * 100_000, max_depth=1_000_000)
    assert "nesting beyond the 100" in error.message


@pytest.mark.parametrize(
    "unit", ['"', '\\"', "/*", "/* *", " /", "//", "a ", "a=", '="', "{", "%(", "9", ".", "\n", 'a"b"', " ="]
)
def test_long_repetitions_are_handled_in_linear_time(unit: str) -> None:
    # Were any expression to backtrack, this would not end within the lifetime of the test run.
    for prefix in ("", "A = ", 'A = "', "A = x", "A = {"):
        with pytest.raises(InvalidInputError):
            parse(prefix + unit * 50_000 + "\n]")


def test_names_are_found_whatever_their_case_and_keep_their_first_spelling() -> None:
    found = Jdl({"CPUTime": 1})
    found["cputime"] = 2
    found["Other"] = 3
    assert found["CPUTIME"] == 2
    assert "cpuTime" in found
    assert 5 not in found
    assert list(found) == ["CPUTime", "Other"]
    assert found == Jdl({"other": 3, "CPUtime": 2})
    assert found != Jdl({"other": 3})
    assert found != {"CPUTime": 2, "Other": 3}
    assert "CPUTime" in repr(found)
    del found["OTHER"]
    assert len(found) == 1
    for name in ("", "a b", "1a", "a-b", "a.", "x" * 129, "é"):
        with pytest.raises(InvalidInputError):
            found[name] = 1


def test_dump_is_readable() -> None:
    text = dump(
        parse('a=1;B="x y";c={1,b};d=[e=true;f=1.5];g={"' + '","'.join("x" * 30 + c for c in "abcd") + '"}')
    )
    long = ",\n".join(f'        "{"x" * 30}{c}"' for c in "abcd")
    assert text == (
        '[\n    a = 1;\n    B = "x y";\n'
        "    c = {1, b};\n    d = [\n        e = true;\n        f = 1.5;\n    ];\n"
        f"    g = {{\n{long}\n    }};\n]\n"
    )


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (float("nan"), "A"),
        (float("inf"), "A"),
        (2**63, "A"),
        pytest.param(10**5000, "A", id="more digits than Python prints"),
        ("nul \0", "A"),
        (None, "A"),
        (Jdl({"B": Jdl({"C": ["\x07"]})}), "A.B.C"),
    ],
)
def test_dump_refuses_what_cannot_be_read_back(value: object, where: str) -> None:
    found = Jdl()
    found["A"] = value  # type: ignore[assignment]
    with pytest.raises(InvalidInputError) as caught:
        dump(found)
    assert caught.value.where == where


def test_dump_refuses_endless_values() -> None:
    endless = Jdl()
    endless["Self"] = [endless]
    with pytest.raises(InvalidInputError, match="nested deeper"):
        dump(endless)


texts = st.text(
    st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from('\n\t\r"\\;{}[]=#/*%,'), max_size=20
)
words = st.sampled_from(
    ["true", "5", "-1.5", "007", "a b", "{", "//x", "#", "=", "a=b", '"', "LFN:/a", "", "ANY", "é"]
)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}(\.[a-z0-9_]{1,3})?", fullmatch=True)
scalars = (
    texts
    | words.map(Bare)
    | texts.map(Bare)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)


def jdls(values: st.SearchStrategy[object]) -> st.SearchStrategy[Jdl]:
    return st.dictionaries(names, values, max_size=5).map(Jdl)  # type: ignore[arg-type]


values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | jdls(inner), max_leaves=12)


@given(jdls(values))
@settings(deadline=None)
def test_what_is_printed_is_read_back(found: Jdl) -> None:
    again = parse(dump(found))
    assert again == found
    assert strict(again) == strict(found)
    assert dump(again) == dump(found)


pieces = st.sampled_from(
    [
        "A",
        "b.c",
        "=",
        ";",
        "{",
        "}",
        "[",
        "]",
        ",",
        '"',
        '"x"',
        "\\",
        "\n",
        " ",
        "#",
        "//",
        "/*",
        "*/",
        "1",
        "-1.5",
        "é",
        "\0",
    ]
)


@given(st.text() | st.lists(pieces, max_size=25).map("".join))
@settings(deadline=None, max_examples=400)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except InvalidInputError as error:
        assert_located(error)
    else:
        assert strict(parse(dump(found))) == strict(found)


def test_limits_are_public() -> None:
    assert (jdl.MAX_BYTES, jdl.MAX_DEPTH) == (1048576, 20)
