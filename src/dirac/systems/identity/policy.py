"""Who may do what with the identity system's routes."""

from __future__ import annotations

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.models import AuditRecord, Identity, Property


def anybody(identity: Identity) -> None:
    """Allow everybody who has a valid token; what they see is their own."""


def person(identity: Identity) -> None:
    """Allow people and the installation's services: pilots and jobs have no sessions.

    Raises:
        NotAllowedError: The token is a pilot's or a job's.
    """
    if identity.kind not in ("user", "service"):
        raise NotAllowedError(f"the token of a {identity.kind} has no business here")


def read_audit(identity: Identity) -> None:
    """Allow looking into the audit log: administrators of a VO into its part, the installation's into all.

    Raises:
        NotAllowedError: The caller administrates nothing.
    """
    if administrates_all(identity):
        return
    if identity.kind != "user" or Property.JOB_ADMINISTRATOR not in identity.properties:
        raise NotAllowedError(
            f"{identity.username!r} of group {identity.group!r} may not look into the audit log",
            hint=f"It takes a group with {Property.JOB_ADMINISTRATOR} or {Property.SERVICE_ADMINISTRATOR}",
        )


def audited_vo(identity: Identity) -> str | None:
    """Return whose part of the audit log somebody may see, None for all of it."""
    return None if administrates_all(identity) else identity.vo


def explains(identity: Identity, refusal: AuditRecord) -> bool:
    """Tell whether somebody may know why a request was refused: who asked it, and administrators."""
    if administrates_all(identity) or refusal.actor == identity.subject:
        return True
    of_vo = identity.kind == "user" and Property.JOB_ADMINISTRATOR in identity.properties
    return of_vo and refusal.vo == identity.vo


def administrates_all(identity: Identity) -> bool:
    """Tell whether somebody administrates the installation."""
    return identity.kind in ("user", "service") and Property.SERVICE_ADMINISTRATOR in identity.properties
