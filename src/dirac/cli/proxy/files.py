"""The files of certificates and proxies on a user's machine: where they are, and how they are written."""

from __future__ import annotations

import os
import re
import secrets
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dirac.core.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from dirac.formats.x509.proxy import Chain, PrivateKey, PublicKey

Group = Annotated[
    str | None, typer.Option("--group", "-g", metavar="GROUP", help="Put a DIRAC group into it.")
]
Limited = Annotated[bool, typer.Option("--limited", help="Make it limited: it becomes nothing else.")]
Valid = Annotated[
    str, typer.Option("--valid", "-v", metavar="AGE", help="How long it is good: 90m, 12h, 7d, 2w.")
]
Certificate = Annotated[
    Path | None,
    typer.Option("--cert", metavar="FILE", help="Your certificate; otherwise ~/.globus/usercert.pem."),
]
Key = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="Its key; otherwise ~/.globus/userkey.pem.")
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the key's password from standard input.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="FILE", help="Where to; otherwise X509_USER_PROXY, /tmp/x509up_u<uid>."
    ),
]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_age = re.compile(r"(\d{1,6})([mhdw])").fullmatch
_OTHERS = 0o077


def proxy_file(given: Path | None = None) -> Path:
    """Return the file of the user's proxy."""
    known = os.environ.get("X509_USER_PROXY")
    return given or (Path(known) if known else Path(tempfile.gettempdir()) / f"x509up_u{os.getuid()}")


def life(text: str) -> timedelta:
    """Return how long a proxy is to be good.

    Raises:
        InvalidInputError: It is no length of time.
    """
    found = _age(text.strip().lower())
    if found is None or not int(found[1]):
        raise InvalidInputError(
            f"{text!r} is no length of time", where="--valid", hint="Type 90m, 12h, 7d or 2w"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def read(file: Path) -> bytes:
    """Return what a file holds.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: It cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"there is no {file}") from None
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be read: {error.strerror}") from None


def own(cert: Path | None, key: Path | None, *, password_stdin: bool) -> tuple[Chain, PrivateKey]:
    """Return the user's certificate and its key; a person is asked for its password.

    Raises:
        NotFoundError: One of the files is not there.
        InvalidInputError: They cannot be used, or others may read the key.
    """
    need_library()
    from dirac.formats.x509 import names, proxy

    home = Path.home() / ".globus"
    cert = cert or Path(os.environ.get("X509_USER_CERT") or home / "usercert.pem")
    key = key or Path(os.environ.get("X509_USER_KEY") or home / "userkey.pem")
    try:
        chain = proxy.chain(names.certificates(read(cert)))
        content = read(key)
    except NotFoundError as error:
        error.hint = "Your certificate and key: --cert and --key, or ~/.globus/usercert.pem and userkey.pem"
        raise
    if key.stat().st_mode & _OTHERS:
        raise InvalidInputError(f"others may read {key}", hint=f"chmod 600 {key}")
    password = None
    if b"ENCRYPTED" in content:
        password = _password(key, password_stdin=password_stdin).encode()
    private = proxy.read_key(content, password)
    if names.public_key(chain.leaf) != private.public_key():
        raise InvalidInputError(f"{key} is not the key of {cert}")
    return chain, private


def signed(
    of: Chain, key: PrivateKey, public: PublicKey, valid: timedelta, *, group: str | None, limited: bool
) -> Chain:
    """Return a proxy of a certificate that begins now."""
    from dirac.formats.x509 import proxy

    serial, now = secrets.randbits(63) | 1, datetime.now(UTC)
    return proxy.sign(of, key, public, serial=serial, now=now, life=valid, group=group, limited=limited)


def write(file: Path, content: bytes) -> None:
    """Put a proxy into its file, which nobody else may read.

    Raises:
        InvalidInputError: It cannot be written.
    """
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        # A name that nobody knows before, made by us or not at all: /tmp is everybody's.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
        part.replace(file)
    except OSError as error:
        raise InvalidInputError(f"{file} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def check_is_proxy(file: Path) -> None:
    """Make sure that a file that is to be deleted is a proxy and nothing else.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: It is something else.
    """
    content = read(file)
    if not content.lstrip().startswith(b"-----BEGIN CERTIFICATE-----") or b"PRIVATE KEY" not in content:
        raise InvalidInputError(f"{file} is no proxy, and was not deleted")


def facts(chain: Chain, file: Path) -> dict[str, object]:
    """Return what there is to say about a proxy."""
    from dirac.formats.x509 import voms

    kind = chain.steps[0].kind.value if chain.steps else "certificate"
    left = (chain.not_after - datetime.now(UTC)).total_seconds()
    return {
        "subject": chain.subject,
        "kind": f"limited {kind}" if chain.limited else kind,
        "group": chain.group,
        "limited": chain.limited,
        "expires": chain.not_after,
        "seconds_left": max(0, int(left)),
        "voms": [fqan for one in voms.read(chain) for fqan in one.groups],
        "file": str(file),
    }


def _password(key: Path, *, password_stdin: bool) -> str:
    if password_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise InvalidInputError(
            f"{key} is encrypted, and there is nobody to ask", hint="Give its password: --password-stdin"
        )
    password: str = typer.prompt(f"Password of {key}", hide_input=True, err=True)
    return password


def need_library() -> None:
    """Make sure that what reads certificates is installed.

    Raises:
        InvalidInputError: It is not.
    """
    try:
        import cryptography  # noqa: F401 - whether it is there
    except ImportError:
        raise InvalidInputError(
            "proxies need a library that is not installed",
            hint="Install it: pip install 'dirac-interware[grid]'",
        ) from None
