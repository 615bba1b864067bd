from __future__ import annotations

from pathlib import Path

import pytest

from dirac.agent import container
from dirac.core.errors import UnavailableError
from dirac.formats.description import JobDescription
from tests.unit.agent.fakes import FakeJobServer
from tests.unit.agent.test_wrapper import INPUT, wrapper

# Notes what it was called with and runs the program behind the image, as apptainer does.
RUNTIME = """#!/bin/sh
printf '%s\\n' "$@" > "$DIRAC_TEST_NOTES/arguments"
env > "$DIRAC_TEST_NOTES/environment"
while [ "$1" != docker://debian:12 ] && [ "${1##*.}" != sif ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a runtime that tells how it was called."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/apptainer"
    program.write_text(RUNTIME.replace("$DIRAC_TEST_NOTES", str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def line(directory: Path, image: str = "docker://debian:12", **changes: object) -> list[str]:
    values: dict[str, object] = {"directory": directory, "gpus": 0, "trust": {}}
    return container.command_line("apptainer", image, ["/bin/echo", "a b"], **(values | changes))  # type: ignore[arg-type]


def test_the_job_is_at_home_in_its_directory(tmp_path: Path) -> None:
    found = line(tmp_path)
    assert found[:2] == ["apptainer", "exec"]
    assert found[-3:] == ["docker://debian:12", "/bin/echo", "a b"]
    for option in ("--home", "--pwd"):
        assert found[found.index(option) + 1] == str(tmp_path)
    assert {"--cleanenv", "--contain", "--no-eval"} < set(found)


def test_an_image_of_the_sandbox_is_found_in_the_job_s_directory(tmp_path: Path) -> None:
    assert line(tmp_path, "box.sif")[-3] == "box.sif"
    (tmp_path / "box.sif").touch()
    assert line(tmp_path, "box.sif")[-3] == str(tmp_path / "box.sif")


@pytest.mark.parametrize(("gpus", "nvidia", "amd"), [(0, True, True), (1, True, False), (2, False, True)])
def test_graphics_processors_are_handed_on_to_jobs_that_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, nvidia: bool, amd: bool
) -> None:
    for name, there in (("_NVIDIA", nvidia), ("_AMD", amd)):
        monkeypatch.setattr(container, name, tmp_path if there else tmp_path / "no")
    found = line(tmp_path, gpus=gpus)
    assert ("--nv" in found, "--rocm" in found) == (bool(gpus) and nvidia, bool(gpus) and amd)


def test_authorities_can_be_read_inside(tmp_path: Path) -> None:
    strange = tmp_path / "a:b"
    strange.touch()
    trust = {"DIRAC_CA_FILE": str(tmp_path), "SSL_CERT_FILE": str(strange), "X509_CERT_DIR": "/no/such"}
    found = line(tmp_path, trust=trust)
    binds = [found[place + 1] for place, word in enumerate(found) if word == "--bind"]
    assert [bind for bind in binds if not bind.startswith("/cvmfs")] == [f"{tmp_path}:{tmp_path}:ro"]


def test_the_environment_goes_inside_but_for_the_node_s_own(tmp_path: Path) -> None:
    outside = {"PATH": "/usr/bin", "JOBID": "42", "A": "1,2 $(x)", "HOME": "/root"}
    found = container.environment(outside, {"A": "1,2 $(x)"})
    assert outside.items() <= found.items()
    assert {name: value for name, value in found.items() if name.startswith("APPTAINERENV_")} == {
        "APPTAINERENV_JOBID": "42",
        "APPTAINERENV_A": "1,2 $(x)",
    }
    assert container.environment({"PATH": "/mine"}, {"PATH": "/mine"})["SINGULARITYENV_PATH"] == "/mine"


def test_a_node_without_a_runtime_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="neither apptainer nor singularity"):
        container.find_runtime(str(tmp_path))


async def test_a_job_with_an_image_runs_in_it(notes: Path) -> None:
    server = FakeJobServer()
    server.sandboxes[INPUT] = {"run.sh": "#!/bin/sh\necho $GREETING from $(basename $PWD)\n"}
    description = JobDescription(
        executable="run.sh",
        image="docker://debian:12",
        input_sandbox=(INPUT,),
        output_sandbox=("std.out",),
        environment={"GREETING": "hello, you"},
        max_number_of_processors=2,
    )
    assert await wrapper(notes, description, server).run()
    assert server.output == {"std.out": b"hello, you from job-42-1\n"}
    assert str(notes / "job-42-1") in (notes / "arguments").read_text().splitlines()
    environment = (notes / "environment").read_text().splitlines()
    assert "APPTAINERENV_GREETING=hello, you" in environment
    assert "APPTAINERENV_DIRAC_JOB_PROCESSORS=2" in environment
    assert not any(variable.startswith("APPTAINERENV_PATH") for variable in environment)


async def test_a_job_with_an_image_fails_with_a_reason_where_there_is_no_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(container, "_ELSEWHERE", ())
    server = FakeJobServer()
    description = JobDescription(executable="/bin/true", image="docker://debian:12")
    assert not await wrapper(tmp_path, description, server).run()
    assert server.story[-1] == "Failed / Application not found"
    assert "neither apptainer nor singularity" in str(server.updates[-1].ApplicationStatus)
