"""Routes of the identity system."""

from dirac.systems.identity.api import audit, authorize, device, pilots, token, well_known

routers = (well_known.router, device.router, authorize.router, token.router, pilots.router, audit.router)

__all__ = ["routers"]
