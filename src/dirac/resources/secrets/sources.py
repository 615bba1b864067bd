"""Secrets of this machine: its environment, its files, and files that are encrypted with age or SOPS.

Encrypted ones are opened by the programs `age` and `sops`, which have to be in PATH: what a site has
encrypted with its own is opened by the same. A secret is on no command line.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import yaml

from dirac.core.errors import InvalidInputError, UnavailableError
from dirac.core.secrets import MOST_BYTES, SecretReference, read_secret

FORBIDDEN = 0o007
"""Bits of its mode that a file of a secret must not have: others are nobody's business, a group may be."""

_PATIENCE = 20.0  # seconds for a program; SOPS may ask a key service far away
_TOLD = 300
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CONFIG_HOME", "GNUPGHOME", "HTTPS_PROXY", "NO_PROXY")
# What SOPS finds its keys with; nothing else of the server's environment is its business.
_KEPT_PREFIXES = ("SOPS_", "AWS_", "GOOGLE_", "AZURE_", "VAULT_")


class Source(Protocol):
    """Gives secrets of one kind.

    Attributes:
        cheap: Whether it may be asked each time, and in an event loop.
    """

    cheap: bool

    def fetch(self, reference: SecretReference) -> bytes:
        """Return a secret.

        Raises:
            InvalidInputError: It is not where it should be, or not as it should be.
            UnavailableError: Whoever holds it does not answer.
        """
        ...


class EnvironmentSource:
    """Variables of the process.

    Args:
        environment: The variables.
    """

    cheap = True

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    def fetch(self, reference: SecretReference) -> bytes:
        """Return a variable."""
        if not (value := self._environment.get(reference.place)):
            raise InvalidInputError(f"there is no {reference.place} in the environment")
        return value.encode()


class FileSource:
    """Files that others may not read.

    Args:
        path: Makes a path from what is written; relative ones start at the server's own place.
    """

    cheap = True

    def __init__(self, path: Callable[[str], Path]) -> None:
        self._path = path

    def fetch(self, reference: SecretReference) -> bytes:
        """Return the content of a file, or a value of it if it is a document."""
        path = self._path(reference.place)
        # A message names the option in front of the path; who asks for the secret knows which one that is.
        content = _read(path)
        return content if reference.key is None else _picked(content, reference.key, path)


class AgeSource:
    """Files that are encrypted with age.

    Args:
        path: As for `FileSource`.
        identity: File with the key that opens them; None if the settings name none.
    """

    cheap = False

    def __init__(self, path: Callable[[str], Path], identity: Path | None) -> None:
        self._path = path
        self._identity = identity

    def fetch(self, reference: SecretReference) -> bytes:
        """Return what is in an encrypted file, or a value of it if it is a document."""
        if self._identity is None:
            raise InvalidInputError(
                "no key of age is known", hint="Name its file in `secrets.age_identity_file` of the settings"
            )
        read_secret(self._identity, "secrets.age_identity_file", forbidden=FORBIDDEN)
        path = self._path(reference.place)
        _there(path)
        content = _run(["age", "--decrypt", "--identity", str(self._identity), str(path)]).strip()
        if not content:
            raise InvalidInputError(f"{path} is empty")
        return content if reference.key is None else _picked(content, reference.key, path)


class SopsSource:
    """Documents that are encrypted with SOPS.

    Args:
        path: As for `FileSource`.
        identity: File with the key of age that opens them; None for what SOPS finds itself.
    """

    cheap = False

    def __init__(self, path: Callable[[str], Path], identity: Path | None) -> None:
        self._path = path
        self._identity = identity

    def fetch(self, reference: SecretReference) -> bytes:
        """Return a value of an encrypted document; SOPS verifies that nobody has changed the rest."""
        path = self._path(reference.place)
        _there(path)
        environment: dict[str, str] = {}
        if self._identity is not None:
            read_secret(self._identity, "secrets.age_identity_file", forbidden=FORBIDDEN)
            environment["SOPS_AGE_KEY_FILE"] = str(self._identity)
        content = _run(["sops", "decrypt", "--output-type", "json", str(path)], environment)
        return _picked(content, reference.key or "", path)


def picked(document: Any, key: str, where: object) -> bytes:
    """Return a value of a document; names with slashes lead to it.

    Raises:
        InvalidInputError: There is none, or it is no text or number.
    """
    value = document
    if isinstance(document, Mapping) and key in document:
        value = document[key]
    else:
        for name in key.split("/"):
            value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise InvalidInputError(f"{where} has no text at {key}")
    return str(value).encode()


def _picked(content: bytes, key: str, path: Path) -> bytes:
    try:
        try:
            document = msgspec.json.decode(content)
        except msgspec.DecodeError:
            document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        # What the parser says might quote the secret.
        raise InvalidInputError(f"{path} is no YAML or JSON, so that there is no {key} in it") from None
    return picked(document, key, path)


def _read(path: Path) -> bytes:
    _there(path)
    try:
        return read_secret(path, "", forbidden=FORBIDDEN)
    except InvalidInputError as error:
        raise InvalidInputError(error.message.removeprefix(": "), hint=error.hint) from None


def _there(path: Path) -> None:
    """Refuse what is no file before it is opened: a pipe would be waited for.

    Raises:
        InvalidInputError: That is so, or it cannot be read.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise InvalidInputError("this is no path") from None
    if not path.is_file():
        raise InvalidInputError(f"{path} is no file")
    if found.st_size > MOST_BYTES:
        raise InvalidInputError(f"{path} is larger than {MOST_BYTES} bytes")


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> bytes:
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    program = command[0]
    try:
        done = subprocess.run(
            command,
            env={**kept, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except OSError as error:
        raise InvalidInputError(
            f"{program} cannot be run: {error.strerror}", hint=f"Install {program} on the server, in its PATH"
        ) from None
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{program} did not end within {_PATIENCE:.0f} s") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[:_TOLD]
        raise InvalidInputError(f"{program} cannot open {command[-1]}: {said}")
    return done.stdout
