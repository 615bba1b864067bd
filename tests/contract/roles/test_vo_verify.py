"""The module dirac_vo_verify believes nothing that it has not read; the command line is a stand-in."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.loading import load

module = load("roles/dirac_vo/library/dirac_vo_verify.py")
# Does what `dirac` does; the VO in `bad` does wrong what is in `how`.
PROGRAM = """\
#!{python}
import json, os, pathlib, re, sys
place = pathlib.Path(sys.argv[0]).parent
home = pathlib.Path(os.environ["HOME"])
words = sys.argv[1:]
if words[0] == "login":
    (home / "vo").write_text(words[1])
vo = (home / "vo").read_text()
how = (place / "how").read_text() if vo == (place / "bad").read_text() else ""
with (place / "calls").open("a") as calls:
    calls.write(vo + " " + " ".join(words[:2]) + "\\n")
if how in words:
    sys.exit("it does not " + how)
if words[:2] == ["job", "submit"]:
    text = re.search("echo (.*) on ", sys.stdin.read()).group(1)
    (home / "text").write_text("something else" if how == "lies" else text)
    print(json.dumps([{{}} if how == "unnumbered" else {{"JobID": 7}}]))
elif words[:2] == ["job", "output"] and how != "loses":
    (home / "output/7").mkdir(parents=True)
    (home / "output/7/std.out").write_text((home / "text").read_text() + " on node1\\n")
"""


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """The options of the module."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/dirac"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    (tmp_path / "bin/bad").write_text("")
    accounts = {"bio": ["b", "c"], "astro": ["a"], "empty": []}
    return {
        "environment": str(tmp_path),
        "url": "http://x",
        "passwords": "/p",
        "accounts": accounts,
        "patience": 60,
    }


def _calls(given: dict[str, Any]) -> list[str]:
    return Path(given["environment"], "bin/calls").read_text().splitlines()


def test_a_job_is_run_for_each_vo_with_accounts(given: dict[str, Any]) -> None:
    jobs, failures = module.verify(given)
    assert failures == []
    assert [(job["vo"], job["user"], job["job"], job["host"]) for job in jobs] == [
        ("astro", "a", 7, "node1"), ("bio", "b", 7, "node1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("login", "bio: `dirac login bio .*it does not login"),
        ("submit", "bio: `dirac job submit .*it does not submit"),
        ("wait", "bio: `dirac job wait 7`.*it does not wait"),
        ("lies", "bio: job 7 said 'something else on node1', not 'bio "),
        ("loses", "bio: the answer is not understood"),
        ("unnumbered", "bio: the answer is not understood"),
    ],
)
def test_what_does_not_work_for_a_vo_is_told_and_stops_no_other(
    given: dict[str, Any], how: str, said: str
) -> None:
    for name, text in (("bad", "bio"), ("how", how)):
        Path(given["environment"], "bin", name).write_text(text)
    jobs, failures = module.verify(given)
    assert [job["vo"] for job in jobs] == ["astro"]
    assert len(failures) == 1
    assert re.search(said, failures[0]), failures
    if how not in ("login", "submit", "unnumbered"):
        assert "bio logout" in _calls(given)


def test_job_that_takes_too_long_is_told_with_what_to_ask(given: dict[str, Any], tmp_path: Path) -> None:
    Path(given["environment"], "bin/dirac").write_text("#!/bin/sh\nexec sleep 60\n")
    member = module.Member(given | {"patience": 0.1}, "bio", "b", tmp_path)
    with pytest.raises(module.FailedError, match=r"took more than 0.1 s; why: dirac job explain 7"):
        member.dirac("job", "wait", "7")
