"""Series of descriptions: whatever is filled in is what reading each of them would have given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError
from dirac.systems.configuration.models import Workload
from dirac.systems.workload.logic import series
from dirac.systems.workload.logic.preparation import Prepared, prepare
from dirac.systems.workload.logic.series import Series
from dirac.systems.workload.ports.work import Owner

OWNER = Owner(vo="astro", sub="a", username="alice", group="users")
RULES = Workload()
JDL = '[ Executable = "run"; Arguments = "{}";\n JobName = "{}"; Site = "LCG.Here.fr"; CPUTime = {}; ]'

value = st.text(st.sampled_from(list('ab %jsn"\\#/*;=[]{}\té\n\x07')), max_size=8) | st.sampled_from(
    ["%j", "%s", "dirac-free-text-1-", "Parameters", "x" * 101, "x" * 129, "true", "1"]
)


@given(
    st.lists(st.tuples(value, value, st.sampled_from(["3600", "7200", "x", "{1}"])), min_size=1, max_size=5)
)
def test_a_series_is_what_its_descriptions_are(parts: list[tuple[str, str, str]]) -> None:
    texts = [JDL.format(*one) for one in parts for _ in range(2)]
    assert outcome(Series().prepare, texts) == outcome(prepare, texts)


@given(
    st.lists(st.tuples(value, value, st.sampled_from(["3600", "7200", "x", "{1}"])), min_size=1, max_size=8),
    st.lists(st.sampled_from([OWNER, Owner(vo="astro", sub="b", username="bob", group="users")])),
)
def test_what_came_before_changes_nothing(parts: list[tuple[str, str, str]], owners: list[Owner]) -> None:
    known = Series()
    for number, one in enumerate(parts * 3):
        owner = owners[number % len(owners)] if owners else OWNER
        text = [JDL.format(*one)]
        assert outcome(known.prepare, text, owner) == outcome(prepare, text, owner)


def outcome(how: object, texts: list[str], owner: Owner = OWNER) -> Prepared | tuple[str, str | None]:
    try:
        return how(texts, owner, RULES)  # type: ignore[operator, no-any-return]
    except InvalidInputError as error:
        return error.message, error.where


@pytest.mark.parametrize(
    "text",
    [
        'Executable = "x"; # Arguments = "a";\nArguments = "a";',
        'Executable = "x Arguments = "; Arguments = "a";',
        'Executable = "x"; Nested = [ Arguments = "a"; ]; Arguments = "b";',
        'Executable = "x"; Arguments = {"a", "b"};',
        'Executable = "x"; MyArguments = "a"; JobName = "n";',
        'Executable = "x"; OutputSandbox = {"a", "b"}; arguments = "a";',
        'Executable = "x"; InputData = {"LFN:/astro/a"}; JobName = "n";',
        'Executable = "x"; JobName = "n"; JobGroup = "g"; Arguments = "n";',
        'Executable = "x"; Parameters = 3; Arguments = "%s";',
        'Executable = "x"; JobName = "n',
        'Executable = "dirac-free-text-0-"; JobName = "n";',
    ],
)
def test_doubtful_descriptions_are_read_like_any_other(text: str) -> None:
    texts = [text, text, text]
    assert outcome(Series().prepare, texts) == outcome(prepare, texts)


def test_one_of_a_series_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(texts: list[str], owner: Owner, rules: Workload) -> Prepared:
        read.extend(texts)
        return prepare(texts, owner, rules)

    monkeypatch.setattr(series, "prepare", counting)
    texts = [JDL.format(f"--seed {number}", f"n{number}", "3600") for number in range(50)]
    made = Series().prepare(texts, OWNER, RULES)
    assert len(read) == 1
    assert [job.job_name for job in made.jobs] == [f"n{number}" for number in range(50)]
    assert all(f'"--seed {number}"' in job.jdl for number, job in enumerate(made.jobs))


def test_a_fault_in_a_series_has_its_place() -> None:
    good, bad = JDL.format("a", "n", "3600"), JDL.format("a", "n", '"soon"')
    with pytest.raises(InvalidInputError) as caught:
        Series().prepare([good, good, good, bad], OWNER, RULES)
    assert caught.value.where is not None
    assert caught.value.where.startswith("jdl[3]")


def test_the_same_again_is_read_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(texts: list[str], owner: Owner, rules: Workload) -> Prepared:
        read.extend(texts)
        return prepare(texts, owner, rules)

    monkeypatch.setattr(series, "prepare", counting)
    known = Series()
    for number in range(10):
        made = known.prepare([JDL.format(f"--seed {number}", "n", "3600")], OWNER, RULES)
        assert f"--seed {number}" in made.jobs[0].jdl
    assert len(read) == 2
    other = Workload(max_jobs_per_submission=7)
    known.prepare([JDL.format("--seed 1", "n", "3600")], OWNER, other)
    assert len(read) == 3, "other rules may say something else of it"


def test_nothing_is_no_series() -> None:
    assert outcome(Series().prepare, []) == outcome(prepare, [])
