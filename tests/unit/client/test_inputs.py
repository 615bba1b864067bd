from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.client.inputs import local_files, with_reference
from dirac.core.errors import InvalidInputError
from dirac.formats.jdl import Jdl, Value, parse

REFERENCE = "SB:SandboxSE|/S3/sandboxes/astro/users/ada/sha256:" + "0" * 64 + ".tar.gz"


def write(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def names(text: str, base: Path) -> dict[str, str]:
    return {name: os.path.relpath(path, base) for name, path in local_files(parse(text), base).items()}


def test_files_are_found_as_the_job_will_see_them(tmp_path: Path) -> None:
    write(tmp_path, "run.sh", "data/in.dat", "lib/a.py", "lib/sub/b.py", "p1.txt", "p2.txt")
    text = (
        'InputSandbox = { "run.sh", "data/in.dat", "lib", "p*.txt", "LFN:/astro/x", "SB:SandboxSE|/S3/y" };'
    )
    assert names(text, tmp_path) == {
        "run.sh": "run.sh",
        "in.dat": "data/in.dat",
        "lib/a.py": "lib/a.py",
        "lib/sub/b.py": "lib/sub/b.py",
        "p1.txt": "p1.txt",
        "p2.txt": "p2.txt",
    }


@pytest.mark.parametrize("text", ['"run.sh"', '"run.sh, x.dat"', '{ "run.sh", "x.dat", "run.sh" }', "run.sh"])
def test_all_spellings_of_a_list(tmp_path: Path, text: str) -> None:
    write(tmp_path, "run.sh", "x.dat")
    found = names(f"InputSandbox = {text};", tmp_path)
    assert set(found) == ({"run.sh", "x.dat"} if "x.dat" in text else {"run.sh"})


def test_a_name_with_wildcards_that_exists_is_itself(tmp_path: Path) -> None:
    write(tmp_path, "a[1].txt", "a1.txt")
    assert names('InputSandbox = "a[1].txt";', tmp_path) == {"a[1].txt": "a[1].txt"}


def test_home_and_absolute_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(tmp_path, "home/a", "other/b")
    text = f'InputSandbox = {{ "~/a", "{tmp_path}/other/b" }};'
    assert set(names(text, Path("/"))) == {"a", "b"}


def test_parameters_name_the_files_of_all_jobs(tmp_path: Path) -> None:
    write(tmp_path, "run.sh", "in_a.dat", "in_b.dat")
    text = 'Parameters = { "a", "b" }; InputSandbox = { "run.sh", "in_%s.dat" };'
    assert set(names(text, tmp_path)) == {"run.sh", "in_a.dat", "in_b.dat"}


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"InputSandbox: .*no file .*missing\.sh"):
        names('InputSandbox = { "missing.sh" };', tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/x", "b/x")
    with pytest.raises(InvalidInputError, match="Rename"):
        names('InputSandbox = { "a/x", "b/x" };', tmp_path)


def test_the_reference_takes_the_place_of_local_files() -> None:
    jdl = parse('[ Executable = "x"; inputsandbox = { "a", "LFN:/astro/x", "b/*" }; Site = LCG.CERN.ch; ]')
    rewritten = parse(with_reference(jdl, REFERENCE))
    assert rewritten["InputSandbox"] == ["LFN:/astro/x", REFERENCE]
    assert rewritten["Executable"] == "x"
    assert rewritten["Site"] == "LCG.CERN.ch"


_items = st.lists(
    st.sampled_from(["LFN:/astro/a", "SB:SandboxSE|/S3/b", "/S3/d", "local", "dir/file", "sb:c"]), max_size=5
)


@given(
    st.dictionaries(st.sampled_from(["Executable", "Arguments", "JobName"]), st.text("ab \\\"'%{}")), _items
)
def test_rewriting_changes_nothing_else(attributes: dict[str, str], items: list[Value]) -> None:
    jdl = Jdl(dict(attributes))
    jdl["InputSandbox"] = items
    rewritten = parse(with_reference(jdl, REFERENCE))
    assert {name: rewritten[name] for name in attributes} == attributes
    remote = [item for item in items if str(item).upper().startswith(("LFN:", "SB:", "/S3/"))]
    assert rewritten["InputSandbox"] == [*remote, REFERENCE]
    assert not local_files(rewritten, Path("/nowhere"))
