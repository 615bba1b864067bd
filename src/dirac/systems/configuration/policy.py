"""Who may read and who may change the configuration."""

from __future__ import annotations

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.models import Identity, Property


def read(identity: Identity) -> None:
    """People and services read; what runs on worker nodes is told what it needs."""
    if identity.kind not in ("user", "service"):
        raise NotAllowedError(f"a {identity.kind} may not read the configuration")


def change(identity: Identity) -> None:
    """The installation's administrators, services that bring configurations, and VOs' own administrators.

    The last ones change nothing but their VO's part, within the installation's limits: see `delegation`.
    """
    if not changes_everything(identity) and not changes_own(identity):
        raise NotAllowedError(
            f"{identity.subject} in the group {identity.group!r} may not change the configuration",
            hint="This needs the property ServiceAdministrator, or VOAdministrator for a VO's own part",
        )


def roll_back(identity: Identity) -> None:
    """Who may change all of the configuration: an old version is all of it."""
    if not changes_everything(identity):
        raise NotAllowedError(
            f"{identity.subject} in the group {identity.group!r} may not roll the configuration back",
            hint="This needs the property ServiceAdministrator",
        )


def look_after_git(identity: Identity) -> None:
    """Who may change all of the configuration: what is in a repository is all of it."""
    if not changes_everything(identity):
        raise NotAllowedError(
            f"{identity.subject} in the group {identity.group!r} may not look after git repositories",
            hint="This needs the property ServiceAdministrator",
        )


def changes_everything(identity: Identity) -> bool:
    """Tell whether the caller may change all of it."""
    return sees_everything(identity)


def changes_own(identity: Identity) -> bool:
    """Tell whether the caller administers a VO."""
    return identity.kind == "user" and bool(identity.vo) and Property.VO_ADMINISTRATOR in identity.properties


def sees_everything(identity: Identity) -> bool:
    """Tell whether the caller sees all VOs; others see the part of their own."""
    if identity.kind not in ("user", "service"):
        return False
    if Property.SERVICE_ADMINISTRATOR in identity.properties:
        return True
    return identity.kind == "service" and Property.CS_ADMINISTRATOR in identity.properties
