"""Routes of the identity system."""

from dirac.systems.identity.api import administration, authorize, device, pilots, token, well_known

routers = (
    *(well_known.router, device.router, authorize.router, token.router, pilots.router),
    *(administration.router, administration.pilots),
)

__all__ = ["routers"]
