"""Who may do what with the identity system's routes."""

from __future__ import annotations

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.models import Identity


def anybody(identity: Identity) -> None:
    """Allow everybody who has a valid token; what they see is their own."""


def person(identity: Identity) -> None:
    """Allow people and the installation's services: pilots and jobs have no sessions.

    Raises:
        NotAllowedError: The token is a pilot's or a job's.
    """
    if identity.kind not in ("user", "service"):
        raise NotAllowedError(f"the token of a {identity.kind} has no business here")


def has_proxies(identity: Identity) -> None:
    """Allow people to leave proxies with the server, and to look after them.

    Raises:
        NotAllowedError: The token is not a person's.
    """
    if identity.kind != "user":
        raise NotAllowedError(f"a {identity.kind} leaves no proxies with the server")


def gets_proxies(identity: Identity) -> None:
    """Allow people, jobs and hosts to ask for a proxy; whose they get is a matter of the logic.

    Raises:
        NotAllowedError: The token is a pilot's or a node's.
    """
    if identity.kind not in ("user", "job", "service"):
        raise NotAllowedError(f"a {identity.kind} gets no proxies", hint="Its jobs do, each of its owner")
