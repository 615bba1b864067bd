"""Names of archives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError
from dirac.resources.storage.base import check_key
from dirac.systems.workload.models import SandboxInfo
from dirac.systems.workload.ports.work import Owner
from dirac.systems.workload.sandbox_names import SandboxName, is_reference

INFO = SandboxInfo(checksum="AB" * 32, size=1, format="tar.zst")


def test_the_name_says_whose_it_is_and_what_is_in_it() -> None:
    name = SandboxName.of(Owner("astro", "s", "alice", "users"), INFO)
    assert name.pfn == f"/S3/sandboxes/astro/users/alice/sha256:{'ab' * 32}.tar.zst"
    assert name.key == name.pfn.removeprefix("/S3/sandboxes/")
    assert SandboxName.parse(f"SB:SandboxSE|{name.pfn}") == SandboxName.parse(name.pfn) == name


@given(st.tuples(*[st.text(min_size=1, max_size=80)] * 3), st.tuples(*[st.text(min_size=1, max_size=80)] * 3))
def test_every_owner_has_names_of_their_own_that_can_be_read_and_stored(
    parts: tuple[str, str, str], others: tuple[str, str, str]
) -> None:
    name, other = (SandboxName.of(Owner(vo, "s", user, group), INFO) for vo, group, user in (parts, others))
    assert SandboxName.parse(name.pfn) == name
    assert check_key(name.key) == name.key
    assert (name == other) == (parts == others)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SB:",
        "/S3/sandboxes/a/b/c",
        f"/S3/other/a/b/c/sha256:{'0' * 64}.tar.gz",
        f"/S3/sandboxes/a/b/sha256:{'0' * 64}.tar.gz",
        f"/S3/sandboxes/a/b/c/d/sha256:{'0' * 64}.tar.gz",
        f"/S3/sandboxes/a/b/c/sha256:{'0' * 64}.zip",
        f"/S3/sandboxes/a/b/c/sha256:{'0' * 64}.tar.gz\n",
        f"SB:Sandbox SE|/S3/sandboxes/a/b/c/sha256:{'0' * 64}.tar.gz",
        f"/S3/sandboxes/{'a' * 500}/b/c/sha256:{'0' * 64}.tar.gz",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="does not name a sandbox"):
        SandboxName.parse(text)


def test_references_are_told_from_files() -> None:
    assert is_reference("SB:SandboxSE|/S3/x")
    assert is_reference("/S3/sandboxes/x")
    assert not is_reference("LFN:/astro/x")
    assert not is_reference("run.sh")
