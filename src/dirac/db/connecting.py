"""What it means if a database cannot be connected to."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from sqlalchemy import URL

from dirac.core.errors import UnavailableError

# Refused logins: MariaDB's numbers, PostgreSQL's SQLSTATE.
_LOGIN = frozenset({1044, 1045, 1130, 1698, "28000", "28P01"})
_NO_DATABASE = frozenset({1049, "3D000"})
_FULL = frozenset({1040, 1203, "53300"})
_STARTING = frozenset({1053, "57P03"})
# Not the request's fault, and gone one day: no connection, no memory or room, an operator at work.
_PASSING_CLASSES = ("08", "28", "3D", "53", "57P")


def passes(error: BaseException) -> bool:
    """Tell whether a driver's own error at connecting is the server's state, not a mistake of the program."""
    if isinstance(error, (OSError, ssl.SSLError)):
        return True
    return is_of_class(error, _PASSING_CLASSES)


def codes_of(error: BaseException | None) -> tuple[int | str, ...]:
    """Return the codes of a driver's own error: a number, as MariaDB has, and SQLSTATE, if it has them."""
    number = error.args[0] if error is not None and error.args else None
    state = getattr(error, "sqlstate", None)
    return *((number,) if isinstance(number, int) else ()), *((state,) if isinstance(state, str) else ())


def is_of_class(error: BaseException | None, classes: str | tuple[str, ...]) -> bool:
    """Tell whether the SQLSTATE of a driver's own error begins like this."""
    return any(isinstance(code, str) and code.startswith(classes) for code in codes_of(error))


def unreachable(error: BaseException, url: URL) -> UnavailableError:
    """Say for operators why there is no connection, and what to do; never with the password."""
    where = str(url.database) if url.get_backend_name() == "sqlite" else f"{url.host}:{url.port or 'default'}"
    cause, hint = _explained(error, url)
    return UnavailableError(f"no connection to the database at {where}: {cause}", hint=hint, retry_after=1.0)


def _explained(error: BaseException, url: URL) -> tuple[str, str]:
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not accepted: {one.verify_message}",
                f"`database.ca_file` has to hold the authority that signed the server's certificate, "
                f"which has to name {url.host}",
            )
        if isinstance(one, socket.gaierror):
            return f"the host is not known: {one.strerror}", "Check the address and the DNS"
    for one in chain:
        if found := _by_code(one, url):
            return found
    if any(isinstance(one, ssl.SSLError) for one in chain) or "SSL" in str(error):
        return (
            f"TLS failed: {_first_line(chain[-1])}",
            "`database.ca_file` asks for TLS: switch it on at the database server, or remove the option",
        )
    return _first_line(chain[-1]), "Is the database server running, and does it listen there?"


def _by_code(error: BaseException, url: URL) -> tuple[str, str] | None:
    codes = set(codes_of(error))
    if codes & _LOGIN:
        return (
            f"it refuses the user {url.username!r}",
            "Check user and password in `database.url_file`, and the user's rights at the server",
        )
    if codes & _NO_DATABASE:
        return f"it has no database {url.database!r}", "Create it; the operator's page on databases says how"
    if codes & _FULL:
        return "all its connections are in use", "Raise its max_connections, or lower `database.pool_size`"
    if codes & _STARTING:
        return "it is starting or stopping", "Wait for it, and look into its log"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, outermost first."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = getattr(following, "orig", None) or following.__cause__ or following.__context__


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
