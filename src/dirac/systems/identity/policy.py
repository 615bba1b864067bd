"""Who may do what with the identity system's routes."""

from __future__ import annotations

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.models import AuditRecord, Identity, Place, Property


def anybody(identity: Identity) -> None:
    """Allow everybody who has a valid token; what they see is their own."""


def person(identity: Identity) -> None:
    """Allow people and the installation's services: pilots and jobs have no sessions.

    Raises:
        NotAllowedError: The token is a pilot's or a job's, or the certificate is a limited proxy.
    """
    if identity.kind not in ("user", "service"):
        raise NotAllowedError(f"the token of a {identity.kind} has no business here")
    if identity.limited:
        raise NotAllowedError(
            "a limited proxy cannot become a token, nor look after what its owner holds",
            hint="Make a full one: dirac proxy init",
        )


def operator(identity: Identity) -> None:
    """Allow the operators of the installation.

    Raises:
        NotAllowedError: The caller is none.
    """
    if not is_operator(identity):
        raise NotAllowedError(
            f"{identity.username!r} does not operate this installation",
            hint=f"This needs the property {Property.SERVICE_ADMINISTRATOR}",
        )


def is_operator(identity: Identity) -> bool:
    """Tell whether somebody operates the installation."""
    return identity.kind in ("user", "service") and Property.SERVICE_ADMINISTRATOR in identity.properties


def issue_secrets(identity: Identity) -> None:
    """Allow issuing the secrets of pilots: of one's own VO with GenericPilot, or as an operator.

    Raises:
        NotAllowedError: The caller may not.
    """
    _need(identity, "issue secrets of pilots", Property.GENERIC_PILOT)


def revoke(identity: Identity) -> None:
    """Allow revocations, also to those who look after a site; of what, `may_revoke` says.

    Raises:
        NotAllowedError: The caller may revoke nothing.
    """
    if _manages(identity):
        return
    _need(identity, "revoke what others hold", *_OF_PILOTS)


def may_revoke(identity: Identity, kind: str, vo: str, place: Place | None = None) -> None:
    """Allow revoking pilots and sites to those who look after pilots, users and VOs to who manages tokens.

    Args:
        identity: Who asks.
        kind: What is to be revoked.
        vo: Of which VO; empty for all.
        place: The site, or where the pilot is: who looks after it may revoke them for all VOs.

    Raises:
        NotAllowedError: The caller may not revoke that.
    """
    if is_operator(identity) or (place is not None and identity.looks_after(place.site, place.ce)):
        return
    if vo != identity.vo:
        raise NotAllowedError(f"what members of {vo or 'every VO'!r} hold is not yours to revoke")
    _need(identity, f"revoke a {kind}", *(_OF_PILOTS if kind in ("pilot", "site") else _OF_PEOPLE))


def see_holders(identity: Identity) -> None:
    """Allow looking at who holds what: in one's VO, at a site one looks after, as an operator everywhere.

    Raises:
        NotAllowedError: The caller may not.
    """
    if not _manages(identity):
        sees_people(identity)


def sees_people(identity: Identity) -> None:
    """Allow looking at what the members of one's own VO hold.

    Raises:
        NotAllowedError: The caller may not.
    """
    _need(identity, "see who holds credentials", *_OF_PEOPLE)


def _manages(identity: Identity) -> bool:
    return identity.kind == "user" and bool(identity.manages)


_OF_PEOPLE = (Property.PROXY_MANAGEMENT,)
_OF_PILOTS = (Property.PROXY_MANAGEMENT, Property.JOB_ADMINISTRATOR, Property.OPERATOR)


def _need(identity: Identity, deed: str, *properties: Property) -> None:
    """Refuse anybody but an operator, and whoever has one of these properties."""
    person(identity)
    if not is_operator(identity) and identity.properties.isdisjoint(properties):
        raise NotAllowedError(
            f"{identity.username!r} of group {identity.group!r} may not {deed}",
            hint=f"It takes a group with {' or '.join(properties)}",
        )


def has_proxies(identity: Identity) -> None:
    """Allow people to leave proxies with the server, and to look after them.

    Raises:
        NotAllowedError: The token is not a person's, or a limited proxy was shown.
    """
    if identity.kind != "user":
        raise NotAllowedError(f"a {identity.kind} leaves no proxies with the server")
    person(identity)


def gets_proxies(identity: Identity) -> None:
    """Allow people, jobs and hosts to ask for a proxy; whose they get is a matter of the logic.

    Raises:
        NotAllowedError: The token is a pilot's or a node's.
    """
    if identity.kind not in ("user", "job", "service"):
        raise NotAllowedError(f"a {identity.kind} gets no proxies", hint="Its jobs do, each of its owner")


def read_audit(identity: Identity) -> None:
    """Allow looking into the audit log: administrators of a VO into its part, the installation's into all.

    Raises:
        NotAllowedError: The caller administrates nothing.
    """
    if is_operator(identity):
        return
    if identity.kind != "user" or Property.JOB_ADMINISTRATOR not in identity.properties:
        raise NotAllowedError(
            f"{identity.username!r} of group {identity.group!r} may not look into the audit log",
            hint=f"It takes a group with {Property.JOB_ADMINISTRATOR} or {Property.SERVICE_ADMINISTRATOR}",
        )


def audited_vo(identity: Identity) -> str | None:
    """Return whose part of the audit log somebody may see, None for all of it."""
    return None if is_operator(identity) else identity.vo


def explains(identity: Identity, refusal: AuditRecord) -> bool:
    """Tell whether somebody may know why a request was refused: who asked it, and administrators."""
    if is_operator(identity) or refusal.actor == identity.subject:
        return True
    of_vo = identity.kind == "user" and Property.JOB_ADMINISTRATOR in identity.properties
    return of_vo and refusal.vo == identity.vo
