"""Files that the real age and SOPS have encrypted."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from dirac.core.errors import InvalidInputError
from dirac.core.secrets import SecretReference
from dirac.resources.secrets.resolving import Secrets, machine_secrets
from dirac.resources.secrets.vault import VaultSettings
from dirac.testing.time import FakeClock
from tests.services import sops

PLAIN = "virtual_organisations:\n  bio:\n    iam: hunter2\n  astro:\n    iam: other\nport: 5432\n"


class Place:
    """A directory with a key, and what encrypts for it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = directory / "age.key"
        self.run("age-keygen", "-o", self.key)
        self.key.chmod(0o600)
        found = re.search(r"public key: (age1\S+)", self.key.read_text())
        assert found is not None
        self.recipient = found[1]
        self.clock = FakeClock()

    def run(self, *command: object) -> str:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
        return done.stdout

    def age(self, name: str, text: str) -> None:
        plain = self.directory / "plain"
        plain.write_text(text)
        self.run("age", "--encrypt", "--recipient", self.recipient, "--output", self.directory / name, plain)
        plain.unlink()

    def sops(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text)
        self.run("sops", "encrypt", "--age", self.recipient, "--in-place", path)

    def secrets(self, identity: Path | None = None) -> Secrets:
        return machine_secrets(
            lambda name: self.directory / name, identity or self.key, VaultSettings(), self.clock, 60
        )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PATH", sops.in_path(sops.programs()))
    return Place(tmp_path)


def test_a_file_of_age(place: Place) -> None:
    place.age("iam.age", "hunter2\n")
    place.age("site.yml.age", PLAIN)
    secrets = place.secrets()
    assert secrets.read(SecretReference(age="iam.age")) == b"hunter2"
    key = "virtual_organisations/bio/iam"
    assert secrets.read(SecretReference(age="site.yml.age", key=key)) == b"hunter2"


@pytest.mark.parametrize("name", ["site.yml", "site.json"])
def test_a_document_of_sops(place: Place, name: str) -> None:
    text = (
        PLAIN
        if name.endswith("yml")
        else '{"virtual_organisations": {"bio": {"iam": "hunter2"}}, "port": 5432}'
    )
    place.sops(name, text)
    assert "hunter2" not in (place.directory / name).read_text()
    secrets = place.secrets()
    assert secrets.read(SecretReference(sops=name, key="virtual_organisations/bio/iam")) == b"hunter2"
    assert secrets.read(SecretReference(sops=name, key="port")) == b"5432"
    with pytest.raises(InvalidInputError, match=r"has no text at virtual_organisations/bio$") as caught:
        secrets.read(SecretReference(sops=name, key="virtual_organisations/bio"))
    assert "hunter2" not in str(caught.value)


def test_what_was_replaced_is_found_when_the_time_is_over(place: Place) -> None:
    place.age("iam.age", "first")
    reference, secrets = SecretReference(age="iam.age"), place.secrets()
    assert secrets.read(reference) == b"first"
    place.age("iam.age", "second")
    assert secrets.read(reference) == b"first"
    place.clock.advance(60)
    assert secrets.read(reference) == b"second"
    (place.directory / "iam.age").write_text("half of a fi")
    place.clock.advance(60)
    assert secrets.read(reference) == b"second"
    assert "age cannot open" in secrets.problems["age:iam.age"]


def test_a_document_that_somebody_changed_is_refused(place: Place) -> None:
    place.sops("site.yml", PLAIN)
    path = place.directory / "site.yml"
    bio, astro = re.findall(r"iam: (ENC\S+)", path.read_text())
    path.write_text(path.read_text().replace(bio, astro, 1))
    with pytest.raises(InvalidInputError, match="sops cannot open"):
        place.secrets().read(SecretReference(sops="site.yml", key="virtual_organisations/bio/iam"))


def test_another_key_opens_nothing(place: Place, tmp_path: Path) -> None:
    place.age("iam.age", "hunter2")
    place.sops("site.yml", PLAIN)
    other = tmp_path / "other"
    other.mkdir()
    secrets = place.secrets(Place(other).key)
    for reference in (SecretReference(age="iam.age"), SecretReference(sops="site.yml", key="port")):
        with pytest.raises(InvalidInputError, match="cannot open"):
            secrets.read(reference)


def test_a_key_that_others_may_read_is_not_used(place: Place) -> None:
    place.age("iam.age", "hunter2")
    place.key.chmod(0o644)
    with pytest.raises(InvalidInputError, match=r"secrets\.age_identity_file: others may read"):
        place.secrets().read(SecretReference(age="iam.age"))


def test_a_program_that_is_not_there_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.age("iam.age", "hunter2")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InvalidInputError, match=r"age cannot be run.*Install age"):
        place.secrets().read(SecretReference(age="iam.age"))
