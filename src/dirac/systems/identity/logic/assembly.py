"""The identity system put together, for the composition root and for tests."""

from __future__ import annotations

from typing import Any

from dirac.core import plugins
from dirac.core.entropy import Entropy
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.resources.identity.base import IdentityProvider
from dirac.systems.identity.logic.audit import Audit
from dirac.systems.identity.logic.authorizations import Authorizations
from dirac.systems.identity.logic.cleaning import Cleaning
from dirac.systems.identity.logic.devices import Devices
from dirac.systems.identity.logic.discovery import Discovery
from dirac.systems.identity.logic.keys import KeyRing
from dirac.systems.identity.logic.nodes import PREFIX, NodeCredentials
from dirac.systems.identity.logic.passwords import Passwords, Providers
from dirac.systems.identity.logic.pilots import PilotSecrets
from dirac.systems.identity.logic.registry import Registry
from dirac.systems.identity.logic.sessions import Sessions
from dirac.systems.identity.logic.tokens import Tokens
from dirac.systems.identity.models import Identity
from dirac.systems.identity.ports import Seconds, Unit
from dirac.systems.identity.settings import IdentitySettings


def installed_provider(name: str) -> IdentityProvider:
    """Return the plugin of kind ``dirac.identity`` of that name.

    Raises:
        InvalidInputError: There is none.
    """
    provider: IdentityProvider = plugins.load("dirac.identity", name)()
    return provider


class IdentitySystem:
    """Everything of the identity system, built once per process.

    `keys.prepare()` is to be awaited before the first token is made.

    Args:
        units: Units of work, of `dirac.systems.identity.store.IdentityUnit`.
        clock: The time.
        entropy: Unpredictable bytes.
        settings: Settings.
        providers: Gives the plugin of kind ``dirac.identity`` of a name.
        pilot_life: Gives the life of a pilot's token in seconds; that of the settings if absent.
    """

    def __init__(
        self,
        *,
        units: Units[Unit],
        clock: Clock,
        entropy: Entropy,
        settings: IdentitySettings,
        providers: Providers = installed_provider,
        pilot_life: Seconds | None = None,
    ) -> None:
        self.settings = settings
        self.registry = Registry(units)
        self.discovery = Discovery(self.registry, clock, settings)
        self.keys = KeyRing(units, clock, entropy, settings)
        self.tokens = Tokens(self.keys, clock, entropy, settings)
        self.passwords = Passwords(units, settings, providers)
        self.sessions = Sessions(units, self.tokens, entropy, settings)
        self.devices = Devices(units, self.passwords, self.sessions, entropy, settings)
        self.authorizations = Authorizations(units, self.passwords, self.sessions, entropy, settings)
        self.pilot_secrets = PilotSecrets(units, self.tokens, settings, pilot_life)
        self.nodes = NodeCredentials(units, entropy)
        self.cleaning = Cleaning(units, settings)
        self.audit = Audit(units)

    async def authenticate(self, credential: str) -> Identity:
        """Return whose access token, or node's credential, this is.

        Raises:
            UnauthenticatedError: It is none of ours, or not good any more.
        """
        if credential.startswith(PREFIX):
            return await self.nodes.authenticate(credential)
        return await self.tokens.authenticate(credential)

    def provided(self) -> dict[type, Any]:
        """Return what routes and tasks ask for, by type."""
        parts = (part for name, part in vars(self).items() if not name.startswith("_"))
        return {type(part): part for part in parts}
