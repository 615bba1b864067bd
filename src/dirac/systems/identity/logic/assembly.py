"""The identity system put together, for the composition root and for tests."""

from __future__ import annotations

from typing import Any

from dirac.core import plugins
from dirac.core.entropy import Entropy
from dirac.core.time import Clock
from dirac.core.unit import Units
from dirac.resources.identity.base import IdentityProvider
from dirac.resources.identity.outside import KIND, OutsideProvider, ProviderSettings
from dirac.systems.identity.logic.accounts import Accounts, OutsideProviders, Rules, no_rules
from dirac.systems.identity.logic.audit import Audit
from dirac.systems.identity.logic.authorizations import Authorizations
from dirac.systems.identity.logic.capability_tokens import CapabilityTokens
from dirac.systems.identity.logic.certificates import Certificates
from dirac.systems.identity.logic.cleaning import Cleaning
from dirac.systems.identity.logic.clients import Clients
from dirac.systems.identity.logic.devices import Devices
from dirac.systems.identity.logic.discovery import Discovery
from dirac.systems.identity.logic.exchange import Exchange
from dirac.systems.identity.logic.holdings import Holdings
from dirac.systems.identity.logic.introspection import Introspector
from dirac.systems.identity.logic.issuing import Issuing
from dirac.systems.identity.logic.keys import KeyRing
from dirac.systems.identity.logic.logins import Logins
from dirac.systems.identity.logic.nodes import PREFIX, NodeCredentials
from dirac.systems.identity.logic.passwords import Passwords, Providers
from dirac.systems.identity.logic.people import People
from dirac.systems.identity.logic.pilots import PilotSecrets
from dirac.systems.identity.logic.proxies import Proxies
from dirac.systems.identity.logic.registry import Registry
from dirac.systems.identity.logic.revocations import Revocations
from dirac.systems.identity.logic.revoking import Revoking
from dirac.systems.identity.logic.sessions import Sessions
from dirac.systems.identity.logic.tokens import Tokens
from dirac.systems.identity.models import Identity
from dirac.systems.identity.ports.certificates import ChainJudge
from dirac.systems.identity.ports.unit import Seconds, Unit
from dirac.systems.identity.settings import IdentitySettings


def installed_provider(name: str) -> IdentityProvider:
    """Return the plugin of kind ``dirac.identity`` of that name.

    Raises:
        InvalidInputError: There is none.
    """
    provider: IdentityProvider = plugins.load("dirac.identity", name)()
    return provider


def installed_outside_provider(name: str, settings: ProviderSettings, clock: Clock) -> OutsideProvider:
    """Return the plugin of kind ``dirac.identity_provider`` of that name, for a provider.

    Raises:
        InvalidInputError: There is none.
    """
    provider: OutsideProvider = plugins.load(KIND, name)(settings, clock)
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
        judge: Verifies chains of certificates; None where they are not accepted.
        rules: Gives what the configuration says of logins to a VO.
        outside: Makes the plugin of kind ``dirac.identity_provider`` of a name.
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
        judge: ChainJudge | None = None,
        rules: Rules = no_rules,
        outside: OutsideProviders = installed_outside_provider,
    ) -> None:
        self.settings = settings
        self.registry = Registry(units, settings)
        self.discovery = Discovery(self.registry, clock, settings)
        self.keys = KeyRing(units, clock, entropy, settings)
        self.revocations = Revocations(units, clock, settings)
        self.tokens = Tokens(self.keys, clock, entropy, settings, self.revocations)
        self.passwords = Passwords(units, settings, providers)
        self.accounts = Accounts(units, clock, entropy, settings, rules, outside)
        self.sessions = Sessions(units, self.tokens, self.revocations, entropy, settings, self.accounts)
        self.devices = Devices(units, self.passwords, self.accounts, self.sessions, entropy, settings)
        self.authorizations = Authorizations(
            units, self.passwords, self.accounts, self.sessions, entropy, settings
        )
        self.logins = Logins(units, self.accounts, self.devices, self.authorizations, entropy, settings)
        self.people = People(units, self.accounts, self.registry, clock)
        self.issuing = Issuing(units, entropy)
        self.pilot_secrets = PilotSecrets(units, self.tokens, self.issuing, settings, pilot_life)
        self.nodes = NodeCredentials(units, entropy)
        self.clients = Clients(units, self.tokens, self.revocations, entropy, settings, clock)
        self.capability_tokens = CapabilityTokens(
            units, self.tokens, self.keys, self.accounts, clock, entropy, settings
        )
        self.exchange = Exchange(units, self.tokens, settings, self.capability_tokens)
        self.introspector = Introspector(units, self.tokens, settings)
        self.revoking = Revoking(units, self.tokens, self.revocations, settings)
        self.holdings = Holdings(units)
        self.certificates = Certificates(units, clock, judge, self.revocations)
        self.proxies = Proxies(units, self.tokens, entropy, settings, judge)
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
