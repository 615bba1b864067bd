"""The demo's jobs and the check of their results."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dirac.cli.demo import workload
from dirac.cli.demo.workload import Result, merge, read_results
from dirac.core.errors import DiracError
from dirac.formats.description import from_jdl
from dirac.formats.jdl import parse
from dirac.formats.parametric import expand

GOOD = [Result(seed=seed, points=100_000, hits=round(math.pi / 4 * 100_000)) for seed in range(20)]


@pytest.mark.parametrize(
    "text", [workload.PI_JDL, workload.FAILING_JDL, workload.IMPOSSIBLE_JDL, workload.BIO_JDL]
)
def test_the_descriptions_are_good(text: str) -> None:
    jobs = [from_jdl(job) for job in expand(parse(text), limit=1000)]
    assert len(jobs) == (workload.TASKS if "Parameters" in text else 1)
    assert {job.job_group for job in jobs} == {workload.GROUP}
    if len(jobs) > 1:
        assert len({job.arguments for job in jobs}) == workload.TASKS


def test_good_results_are_merged() -> None:
    estimate = merge(GOOD)
    assert estimate.points == 2_000_000
    assert estimate.value == pytest.approx(math.pi, abs=1e-4)
    assert estimate.deviation() < 1


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (GOOD[:19], "19 results"),
        ([*GOOD[:19], GOOD[0]], "of 19 different tasks"),
        (
            [Result(seed=seed, points=100_000, hits=80_000) for seed in range(20)],
            "standard errors away from pi",
        ),
        ([Result(seed=seed, points=10, hits=10) for seed in range(20)], "cannot be"),
    ],
)
def test_bad_results_are_noticed(results: list[Result], expected: str) -> None:
    with pytest.raises(DiracError, match=expected):
        merge(results)


def test_a_missing_or_broken_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiracError, match=r"job 7 has left no result\.json"):
        read_results([7], {7: []})
    broken = tmp_path / "result.json"
    broken.write_text("{}")
    with pytest.raises(DiracError, match="cannot be read"):
        read_results([7], {7: [broken]})
