"""Who may read and who may change the configuration."""

from __future__ import annotations

from dirac.core.errors import NotAllowedError
from dirac.systems.identity.models import Identity, Property


def read(identity: Identity) -> None:
    """People and services read; what runs on worker nodes is told what it needs."""
    if identity.kind not in ("user", "service"):
        raise NotAllowedError(f"a {identity.kind} may not read the configuration")


def change(identity: Identity) -> None:
    """The installation's administrators, and services that were made to bring configurations."""
    if not sees_everything(identity):
        raise NotAllowedError(
            f"{identity.subject} in the group {identity.group!r} may not change the configuration",
            hint="This needs the property ServiceAdministrator",
        )


def sees_everything(identity: Identity) -> bool:
    """Tell whether the caller sees all VOs; others see the part of their own."""
    if identity.kind not in ("user", "service"):
        return False
    if Property.SERVICE_ADMINISTRATOR in identity.properties:
        return True
    return identity.kind == "service" and Property.CS_ADMINISTRATOR in identity.properties
