"""Secrets: what refers to one, what looks like one, and the file of one.

Settings and the configuration say where a secret is, never what it is. `dirac.resources.secrets` looks there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, TypeGuard

import msgspec
from msgspec import Meta

from dirac.core.errors import InvalidInputError

KINDS: Final = ("environment", "file", "age", "sops", "vault")
"""What a reference may refer to; exactly one of these options is in each."""

MOST_BYTES: Final = 64 * 1024
"""No secret is larger than this."""

ADVICE: Final = (
    "say where the secret is instead of what it is: {file: FILE}, {environment: NAME}, {age: FILE}, "
    "{sops: FILE, key: PATH} or {vault: PATH, key: NAME}"
)

_Place = Annotated[str, Meta(min_length=1, max_length=4096)]
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_NAMES = frozenset(
    {
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "secrets",
        "token",
        "credential",
        "credentials",
        "apikey",
    }
)
_KEYS = frozenset({("private", "key"), ("api", "key"), ("access", "key"), ("secret", "key")})
_HARMLESS_ENDS = frozenset({"file", "path", "directory", "dir", "seconds", "lifetime", "url", "endpoint"})
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)
_KNOWN_SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|AGE-SECRET-KEY-1[A-Z0-9]{20}|\bhvs\.[A-Za-z0-9_-]{20}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8}"
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_VAULT_PATH = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9_.@=+-]+(/[A-Za-z0-9_.@=+-]+)*")


class SecretReference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a secret is, never what it is."""

    environment: Annotated[
        _Place | None, Meta(description="Environment variable of the server that holds it")
    ] = None
    file: Annotated[
        _Place | None,
        Meta(description="File of the server that holds it, not readable by others; relative to `state`"),
    ] = None
    age: Annotated[
        _Place | None,
        Meta(description="File of the server that holds it encrypted with age; relative to `state`"),
    ] = None
    sops: Annotated[
        _Place | None,
        Meta(description="Document of the server encrypted with SOPS; relative to `state`; `key` says what"),
    ] = None
    vault: Annotated[
        _Place | None,
        Meta(description="Path in the key-value store (version 2) of Vault; `key` says what"),
    ] = None
    key: Annotated[
        _Place | None,
        Meta(description="What of a document is meant: a name, or names with slashes that lead to it"),
    ] = None

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is."""
        return next((kind for kind in KINDS if getattr(self, kind) is not None), KINDS[0])

    @property
    def place(self) -> str:
        """What stands beside its kind."""
        return str(getattr(self, self.kind))

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}" + (f"#{self.key}" if self.key is not None else "")


class Secret(Protocol):
    """A secret that is asked for whenever it is needed, so that it may be replaced; never kept by others."""

    def read(self) -> str:
        """Return what it is now; may wait, so never in an event loop.

        Raises:
            InvalidInputError: It is not where it should be, or not as it should be.
            UnavailableError: Whoever holds it does not answer.
        """
        ...

    async def get(self) -> str:
        """Return what it is now; as `read`."""
        ...


def reference_fault(value: Mapping[str, Any]) -> str | None:
    """Return why a section is no reference, None if it is one; never with what it says."""
    kinds = [kind for kind in KINDS if value.get(kind) is not None]
    if len(kinds) != 1 or any(name not in (*KINDS, "key") for name in value):
        return f"expected a reference with one of {', '.join(KINDS)}; {ADVICE}"
    (kind,) = kinds
    place, key = value[kind], value.get("key")
    if not isinstance(place, str) or not place or not isinstance(key, (str, type(None))):
        return f"expected texts in a reference; {ADVICE}"
    if kind == "environment" and (key is not None or not _VARIABLE.fullmatch(place)):
        return "expected the name of an environment variable: letters, digits and _"
    if kind in ("sops", "vault") and not key:
        return f"a reference of the kind {kind} needs `key`: which value of the document is meant"
    if kind == "vault" and not _VAULT_PATH.fullmatch(place):
        return "expected the path of a secret in Vault, below the mount of the settings: dirac/bio/iam"
    if "\x00" in place:
        return "a path has no NUL"
    return None


def is_reference(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Tell whether a plain value is a reference."""
    return isinstance(value, Mapping) and reference_fault(value) is None


def names_a_secret(name: str) -> bool:
    """Tell whether what is called so is a secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    # A space token is a space of a storage element.
    if not words or words[-1] in _HARMLESS_ENDS or words == ["space", "token"]:
        return False
    return not _NAMES.isdisjoint(words) or not _KEYS.isdisjoint(pairwise(words))


def secret_text(text: str) -> str | None:
    """Return what of a text is a secret, in words; None if nothing looks like one."""
    if _PASSWORD_IN_URL.search(text):
        return "there is a password in this address"
    if _KNOWN_SECRETS.search(text):
        return "this is a private key or a token"
    return None


def references_in(
    value: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], SecretReference]]:
    """Yield the references in free settings: sections under a name that is that of a secret."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if names_a_secret(name) and is_reference(item):
                yield (*path, name), msgspec.convert(item, SecretReference)
            else:
                yield from references_in(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from references_in(item, (*path, str(index)))


def filled(value: Any, found: Mapping[tuple[str, ...], str], path: tuple[str, ...] = ()) -> Any:
    """Return free settings with secrets in the places of references."""
    if path in found:
        return found[path]
    if isinstance(value, Mapping):
        return {name: filled(item, found, (*path, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, found, (*path, str(index))) for index, item in enumerate(value)]
    return value


def read_secret(path: Path, option: str, *, forbidden: int, hint: str | None = None) -> bytes:
    """Return the content of a file that is not for everybody.

    Args:
        path: Where it is.
        option: What names it, for messages.
        forbidden: Bits of its mode that must not be set.
        hint: What to do if there is none.

    Raises:
        InvalidInputError: It cannot be read, is empty or too large, or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"{option}: {path} cannot be read: {error.strerror}", hint=hint) from None
    if mode & forbidden:
        raise InvalidInputError(f"{option}: others may read {path}", hint=f"chmod 600 {path}")
    if len(content) > MOST_BYTES:
        raise InvalidInputError(f"{option}: {path} is larger than {MOST_BYTES} bytes", hint=hint)
    if not (content := content.strip()):
        raise InvalidInputError(f"{option}: {path} is empty", hint=hint)
    return content
