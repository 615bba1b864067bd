"""Jobs described in all forms, run by real pilots: dependencies, retries, input data, CWL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation

PATIENCE = 120.0
DATA = """\
data:
  storage_elements:
    OBSERVATORY-DISK: {sites: [DIRAC.Observatory.org]}
  directories:
    /astro/sky: [OBSERVATORY-DISK]
"""
STORY = """\
jobs:
- name: part
  executable: /bin/sh
  arguments: [-c, 'echo "%s says $GREETING" > part.txt']
  environment: {GREETING: hello}
  output: {sandbox: [part.txt]}
  parameter: [one, two]
- name: again
  executable: /bin/sh
  arguments: [-c, 'test "$DIRAC_JOB_ATTEMPT" = 2 || exit 75']
  retry: {max: 1, exit_codes: [75]}
- {name: end, executable: /bin/true, depends_on: [part, again]}
- {name: bad, executable: /bin/false}
- {name: never, executable: /bin/true, depends_on: [bad]}
"""
TOOL = """\
cwlVersion: v1.2
class: CommandLineTool
baseCommand: [wc, -c]
inputs:
  data: {type: File, inputBinding: {}}
outputs:
  count: {type: stdout}
stdout: count.txt
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A running installation whose configuration knows where files are."""
    running = Installation(tmp_path_factory.mktemp("descriptions"))
    with running.tree.open("a") as tree:
        tree.write(DATA)
    try:
        running.deploy()
        yield running
    finally:
        running.close()


def submitted(site: Installation, *words: str, cwd: Path | None = None) -> list[int]:
    found = json.loads(site.run("job", "submit", *words, "--json", cwd=cwd))
    return [job["JobID"] for job in found]


def test_jobs_that_depend_on_each_other(site: Installation, tmp_path: Path) -> None:
    (tmp_path / "story.yaml").write_text(STORY)
    one, two, again, end, bad, never = submitted(site, "story.yaml", cwd=tmp_path)
    client = site.client("alice")
    rows = client.jobs.wait([one, two, again, end, bad, never], timeout=PATIENCE)
    states = {job_id: row["Status"] for job_id, row in rows.items()}
    assert states == {one: "Done", two: "Done", again: "Done", end: "Done", bad: "Failed", never: "Failed"}
    assert rows[never]["MinorStatus"] == "Other job not done"
    assert f"job {bad} (bad) is Failed" in rows[never]["ApplicationStatus"]
    client.jobs.output([two], tmp_path)
    assert (tmp_path / str(two) / "part.txt").read_text() == "two says hello\n"

    def moments(job_id: int, status: str) -> list[str]:
        return [str(each.StatusTime) for each in client.jobs.logging(job_id) if each.Status == status]

    assert moments(end, "Waiting")[0] >= max(moments(job, "Done")[-1] for job in (one, two, again))
    assert len(moments(again, "Matched")) == 2
    assert moments(never, "Matched") == []


def test_input_data_decide_where_a_job_runs(site: Installation, tmp_path: Path) -> None:
    (tmp_path / "good.jdl").write_text('Executable = "/bin/true"; InputData = "LFN:/astro/sky/a";')
    (tmp_path / "lost.jdl").write_text('Executable = "/bin/true"; InputData = "LFN:/astro/sea/a";')
    seen = site.run("job", "submit", "good.jdl", "lost.jdl", "--dry-run", cwd=tmp_path, code=1)
    assert "DIRAC.Observatory.org" in seen
    assert "not in the catalog: 1 of 1: /astro/sea/a" in seen
    good, lost = submitted(site, "good.jdl", "lost.jdl", cwd=tmp_path)
    rows = site.client("alice").jobs.wait([good, lost], timeout=PATIENCE)
    assert (rows[good]["Status"], rows[lost]["Status"]) == ("Done", "Failed")
    assert rows[lost]["MinorStatus"] == "Input Data Not Available"


def test_a_tool_in_cwl(site: Installation, tmp_path: Path) -> None:
    (tmp_path / "tool.cwl").write_text(TOOL)
    (tmp_path / "data.txt").write_text("12345\n")
    (tmp_path / "values.yaml").write_text("data: {class: File, path: data.txt}\n")
    [job_id] = submitted(site, "tool.cwl", "--inputs", "values.yaml", cwd=tmp_path)
    client = site.client("alice")
    assert client.jobs.wait([job_id], timeout=PATIENCE)[job_id]["Status"] == "Done"
    client.jobs.output([job_id], tmp_path)
    assert (tmp_path / str(job_id) / "count.txt").read_text().split() == ["6", "data.txt"]
