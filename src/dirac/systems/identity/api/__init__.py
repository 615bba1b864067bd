"""Routes of the identity system."""

from dirac.systems.identity.api import (
    administration,
    audit,
    authorize,
    device,
    elements,
    login,
    pilots,
    proxies,
    token,
    well_known,
)

routers = (
    *(well_known.router, device.router, authorize.router, login.router, token.router, pilots.router),
    *(administration.router, administration.pilots, proxies.exchange, proxies.router, audit.router),
    elements.router,
)

__all__ = ["routers"]
