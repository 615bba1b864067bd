from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats.jdl import Bare, Jdl, dump, parse
from dirac.formats.parametric import expand, is_parametric, substitute_job_id


def expanded(text: str, limit: int = 100) -> list[Jdl]:
    return expand(parse(text), limit=limit)


def arguments(text: str, limit: int = 100) -> list[object]:
    return [job["Arguments"] for job in expanded(text, limit)]


def refused(text: str, limit: int = 100) -> str:
    with pytest.raises(InvalidInputError) as caught:
        expanded(text, limit)
    assert caught.value.where
    return str(caught.value)


def test_one_job_is_returned_as_it_is() -> None:
    job = parse('Executable = "%s"; ParameterStart = 3')
    assert not is_parametric(job)
    assert expand(job, limit=1) == [job]
    assert expand(job, limit=1)[0] is job


def test_a_list_of_values() -> None:
    jobs = expanded('Executable = "run"; Arguments = "-x %s -i %n"; Parameters = {"a", 2, 2.5, true, word}')
    assert is_parametric(parse("parameters = 1"))
    assert [job["Arguments"] for job in jobs] == [
        "-x a -i 0",
        "-x 2 -i 1",
        "-x 2.5 -i 2",
        "-x true -i 3",
        "-x word -i 4",
    ]
    assert all(list(job) == ["Executable", "Arguments"] for job in jobs)


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        ("Parameters = 3", ["1", "2", "3"]),
        ('Parameters = "3"', ["1", "2", "3"]),
        ("Parameters = 3; ParameterStart = 10; ParameterStep = -5", ["10", "5", "0"]),
        ("Parameters = 4; ParameterFactor = 2; ParameterStep = 0", ["1", "2", "4", "8"]),
        ("Parameters = 3; ParameterFactor = 2; PARAMETERSTEP = 1", ["1", "3", "7"]),
        ("Parameters = 4; ParameterStep = 0.1; ParameterStart = 0", ["0.0", "0.1", "0.2", "0.3"]),
        ('Parameters = 2; ParameterStep = "0.5"', ["1.0", "1.5"]),
    ],
)
def test_a_series(settings: str, values: list[str]) -> None:
    assert arguments(f'Arguments = "%s"; {settings}') == values


def test_named_vectors() -> None:
    assert arguments(
        'Arguments = "%(Energy)s %(angle)s %s %(none)s %d 100%";'
        "Parameters.energy = {a, b}; Parameters.angle = 2; ParameterStart.angle = 90;"
        "ParameterStep.angle = 90;"
    ) == ["a 90 %s %(none)s %d 100%", "b 180 %s %(none)s %d 100%"]


def test_named_and_unnamed_together() -> None:
    assert arguments('Arguments = "%s%(x)s"; Parameters = 2; Parameters.x = {"a", "b"}') == ["1a", "2b"]


def test_the_index_is_padded_to_equal_width() -> None:
    assert arguments('Arguments = "%n"; Parameters = 10')[-1] == "9"
    assert arguments('Arguments = "%n"; Parameters = 11')[:2] == ["00", "01"]


def test_values_are_not_expanded_again() -> None:
    assert arguments('Arguments = "%s"; Parameters = {"%n", "%(x)s"}') == ["%n", "%(x)s"]


def test_nested_attributes() -> None:
    first, second = expanded(
        'OutputSandbox = {"out_%n", {"%s"}}; Env = [ SEED = "%s"; N = 5 ]; Bare = run_%s; Parameters = {x, y}'
    )
    assert first["OutputSandbox"] == ["out_0", ["x"]]
    assert second["Env"] == Jdl({"SEED": "y", "N": 5})
    assert isinstance(first["Bare"], Bare)


def test_a_list_as_value_is_spliced_into_lists() -> None:
    jobs = expanded(
        'InputData = {"LFN:/vo/common", "%(data)s"}; Tags = %(data)s; Parameters.data = { {"a", "b"}, {"c"} }'
    )
    assert [job["InputData"] for job in jobs] == [["LFN:/vo/common", "a", "b"], ["LFN:/vo/common", "c"]]
    assert [job["Tags"] for job in jobs] == [["a", "b"], ["c"]]
    assert "stand alone" in refused('Arguments = "-i %s"; Parameters = { {"a"} }')


def test_unchanged_values_are_shared() -> None:
    first, second = expanded('InputData = {"a", "100%"}; Arguments = "%s"; Parameters = 2')
    assert first["InputData"] is second["InputData"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Parameters = 101", ["Parameters makes 101 jobs", "100"]),
        ("Parameters = {" + "1," * 101 + "}", ["101 jobs", "100"]),
        ("Parameters = 0", ["Parameters = '0'", "number from 1"]),
        ("Parameters = -1", ["'-1'"]),
        ("Parameters = {}", ["list of values"]),
        ("Parameters = 2.5", ["'2.5'"]),
        ("Parameters = true", ["'True'"]),
        ('Parameters = "many"', ["'many'"]),
        ("Parameters = [ a = 1 ]", ["list of values"]),
        ("Parameters = { [ a = 1 ] }", ["holds a [ ]"]),
        ("Parameters.a = 2; Parameters.b = {1, 2, 3}", ["Parameters.b has 3 values, Parameters.a has 2"]),
        ("Parameters = 2; ParameterStart = x", ["ParameterStart = 'x' is not a number"]),
        ("Parameters.a = 2; ParameterFactor.a = {}", ["ParameterFactor.a"]),
        ("Parameters = 100; ParameterFactor = 1000", ["out of range", "ParameterFactor"]),
        ("Parameters = 100; ParameterFactor = 1000.5", ["out of range"]),
    ],
)
def test_faults(text: str, words: list[str]) -> None:
    message = refused("A = %s;" + text)
    assert all(word in message for word in words)


def test_a_small_text_cannot_become_a_huge_one() -> None:
    big = "x" * 100_000
    job = parse(f'Arguments = "{"%s" * 100_000}"; Parameters = {{ "{big}" }}')
    with pytest.raises(TooLargeError, match="characters"):
        expand(job, limit=10)
    numbers = parse('A = {"%s",' + "1," * 10_000 + "}; Parameters = 100")
    with pytest.raises(TooLargeError, match="999999 characters"):
        expand(numbers, limit=100, max_characters=999_999)


def test_the_job_id_is_put_in_later() -> None:
    (job,) = expanded('StdOutput = "out_%j"; L = {"%j%j", 5}; N = [ a = x%j ]; Parameters = 1')
    assert job["StdOutput"] == "out_%j"
    done = substitute_job_id(job, 42)
    assert done == Jdl({"StdOutput": "out_42", "L": ["4242", 5], "N": Jdl({"a": "x42"})})
    assert job["StdOutput"] == "out_%j"


templates = st.lists(
    st.sampled_from(["%s", "%n", "%(a)s", "%(b)s", "%", "%j", "(", "x", "s"]), max_size=6
).map("".join)


@given(templates, st.integers(1, 12), st.integers(-5, 5), st.integers(-3, 3))
@settings(deadline=None)
def test_jobs_are_as_many_as_values_and_can_be_printed(text: str, count: int, step: int, factor: int) -> None:
    job = Jdl({"T": [text], "Parameters": count, "ParameterStep": step, "ParameterFactor": factor})
    job["Parameters.a"] = ["v"] * count
    jobs = expand(job, limit=12)
    assert len(jobs) == count
    for index, made in enumerate(jobs):
        width = len(str(count - 1))
        value = 1
        for _ in range(index):
            value = value * factor + step
        # One after the other is the same as all at once here, because no value looks like a placeholder.
        expected = text.replace("%(a)s", "\1").replace("%n", "\2").replace("%s", str(value))
        assert made["T"] == [expected.replace("\1", "v").replace("\2", str(index).zfill(width))]
        assert parse(dump(made)) == made
