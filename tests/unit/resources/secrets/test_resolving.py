"""Following references: how long what was found is believed, and what happens when nothing is found."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dirac.core.errors import DiracError, InvalidInputError, UnavailableError
from dirac.core.secrets import SecretReference
from dirac.resources.secrets.resolving import ReferredSecret, Secrets, fill, machine_secrets
from dirac.resources.secrets.vault import VaultSettings
from dirac.testing.time import FakeClock

SLOW = SecretReference(vault="a", key="b")
CHEAP = SecretReference(environment="A")


class Told:
    """A source that says what it is told to say."""

    def __init__(self, *, cheap: bool) -> None:
        self.cheap = cheap
        self.asked = 0
        self.says: bytes | DiracError = b"first"

    def fetch(self, reference: SecretReference) -> bytes:
        self.asked += 1
        if isinstance(self.says, DiracError):
            raise self.says
        return self.says


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def slow() -> Told:
    return Told(cheap=False)


@pytest.fixture
def cheap() -> Told:
    return Told(cheap=True)


@pytest.fixture
def secrets(slow: Told, cheap: Told, clock: FakeClock) -> Secrets:
    return Secrets({"vault": slow, "environment": cheap}, clock, seconds=60)


def test_what_costs_something_is_asked_for_once_in_a_while(
    secrets: Secrets, slow: Told, clock: FakeClock
) -> None:
    assert [secrets.read(SLOW) for _ in range(3)] == [b"first"] * 3
    assert slow.asked == 1
    slow.says = b"second"
    clock.advance(59)
    assert secrets.read(SLOW) == b"first"
    clock.advance(1)
    assert secrets.read(SLOW) == b"second"


def test_what_costs_nothing_is_asked_for_each_time(secrets: Secrets, cheap: Told) -> None:
    secrets.read(CHEAP)
    cheap.says = b"second"
    assert secrets.read(CHEAP) == b"second"


@pytest.mark.parametrize("reference", [SLOW, CHEAP])
def test_the_last_good_one_is_kept_and_that_is_said(
    secrets: Secrets,
    slow: Told,
    cheap: Told,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    reference: SecretReference,
) -> None:
    caplog.set_level(logging.INFO)
    assert (secrets.read(reference), secrets.problems) == (b"first", {})
    slow.says = cheap.says = UnavailableError("it does not answer")
    for _ in range(3):
        clock.advance(60)
        assert secrets.read(reference) == b"first"
    assert secrets.problems == {str(reference): "it does not answer"}
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1, "it is said once, not each time"
    assert str(reference) in warned[0].getMessage()
    slow.says = cheap.says = b"second"
    clock.advance(60)
    assert (secrets.read(reference), secrets.problems) == (b"second", {})
    assert "first" not in caplog.text + repr(secrets.problems)
    assert "second" not in caplog.text


def test_who_does_not_answer_is_not_asked_by_everybody(
    secrets: Secrets, slow: Told, clock: FakeClock
) -> None:
    slow.says = UnavailableError("no")
    for _ in range(3):
        with pytest.raises(UnavailableError):
            secrets.read(SLOW)
    assert slow.asked == 1
    clock.advance(5)
    slow.says = b"first"
    assert secrets.read(SLOW) == b"first"
    assert secrets.problems == {}, "there was no last good one"


def test_a_message_names_the_option(secrets: Secrets, cheap: Told) -> None:
    cheap.says = InvalidInputError("there is no A", hint="Set it")
    with pytest.raises(InvalidInputError, match=r"^client_secret: there is no A. Set it$"):
        ReferredSecret(CHEAP, "client_secret", secrets).read()


def test_a_reference_that_is_refused_is_not_followed(secrets: Secrets, cheap: Told) -> None:
    secret = ReferredSecret(CHEAP, "client_secret", secrets, lambda reference: f"{reference} is mine")
    with pytest.raises(InvalidInputError, match="client_secret: environment:A is mine"):
        secret.read()
    assert cheap.asked == 0


async def test_what_is_at_hand_is_given_without_a_thread(
    secrets: Secrets, slow: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = ReferredSecret(SLOW, "x", secrets)
    assert await secret.get() == "first"
    monkeypatch.setattr("asyncio.to_thread", None)
    assert await secret.get() == "first"


def test_handles_of_one_reference_are_equal_and_show_no_secret(secrets: Secrets) -> None:
    one, other = (ReferredSecret(CHEAP, "x", secrets) for _ in range(2))
    one.read()
    assert one == other
    assert "first" not in repr(one)


def test_what_is_no_text_is_not_shown(secrets: Secrets, cheap: Told) -> None:
    cheap.says = b"\xff\xfesecret"
    with pytest.raises(InvalidInputError, match="holds no text") as caught:
        ReferredSecret(CHEAP, "x", secrets).read()
    assert "secret" not in str(caught.value)


def test_settings_are_filled(secrets: Secrets) -> None:
    settings = {"host": "a", "password": {"environment": "A"}}
    assert fill(settings, "here", secrets) == {"host": "a", "password": "first"}
    with pytest.raises(InvalidInputError, match=r"^here\.password: no$"):
        fill(settings, "here", secrets, lambda _: "no")


@pytest.fixture
def machine(tmp_path: Path) -> Secrets:
    return machine_secrets(lambda name: tmp_path / name, None, VaultSettings(), FakeClock(), 60)


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_files_and_documents(machine: Secrets, tmp_path: Path) -> None:
    write(tmp_path / "plain", " hunter2\n")
    write(tmp_path / "a.json", '{"db": {"password": "hunter2", "port": 5}, "a/b": "c"}')
    write(tmp_path / "a.yml", "db:\n  password: hunter2\n")
    assert machine.read(SecretReference(file="plain")) == b"hunter2"
    assert machine.read(SecretReference(file="a.json", key="db/password")) == b"hunter2"
    assert machine.read(SecretReference(file="a.json", key="db/port")) == b"5"
    assert machine.read(SecretReference(file="a.json", key="a/b")) == b"c"
    assert machine.read(SecretReference(file="a.yml", key="db/password")) == b"hunter2"


@pytest.mark.parametrize(
    ("key", "text", "mode", "said"),
    [
        (None, "hunter2", 0o604, "others may read"),
        (None, " \n", 0o600, "is empty"),
        (None, "x" * 70_000, 0o600, "larger than"),
        ("a", '{"hunter2', 0o600, "no YAML or JSON"),
        ("a", '{"a": {"hunter2": 1}}', 0o600, "has no text at a"),
        ("a", '{"a": true, "b": "hunter2"}', 0o600, "has no text at a"),
        ("a/b", '{"a": "hunter2"}', 0o600, "has no text at a/b"),
    ],
)
def test_a_file_that_will_not_do_is_named_and_not_shown(
    machine: Secrets, tmp_path: Path, key: str | None, text: str, mode: int, said: str
) -> None:
    write(tmp_path / "a.json", text, mode)
    with pytest.raises(InvalidInputError, match=said) as caught:
        machine.read(SecretReference(file="a.json", key=key))
    assert "hunter2" not in str(caught.value)


def test_what_is_no_file_is_not_opened(machine: Secrets, tmp_path: Path) -> None:
    for place in (".", "missing", "/dev/zero", "a\x00b"):
        with pytest.raises(InvalidInputError):
            machine.read(SecretReference(file=place))


def test_the_environment(machine: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_A_TEST", "hunter2")
    assert machine.read(SecretReference(environment="OF_A_TEST")) == b"hunter2"
    with pytest.raises(InvalidInputError, match="there is no OF_ANOTHER in the environment"):
        machine.read(SecretReference(environment="OF_ANOTHER"))


def test_what_the_settings_lack_is_named(machine: Secrets) -> None:
    with pytest.raises(InvalidInputError, match=r"secrets\.age_identity_file"):
        machine.read(SecretReference(age="a"))
    with pytest.raises(InvalidInputError, match=r"secrets\.vault\.token_file"):
        machine.read(SecretReference(vault="a", key="b"))
