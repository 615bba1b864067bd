"""Routes of the identity system."""

from dirac.systems.identity.api import authorize, device, login, pilots, token, well_known

routers = (well_known.router, device.router, authorize.router, login.router, token.router, pilots.router)

__all__ = ["routers"]
