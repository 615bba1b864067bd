"""Tables and queries of the identity system."""

from dirac.systems.identity.store.pilots import PilotSecretStore
from dirac.systems.identity.store.registry import RegistryStore
from dirac.systems.identity.store.tables import metadata
from dirac.systems.identity.store.unit import IdentityUnit

__all__ = ["IdentityUnit", "PilotSecretStore", "RegistryStore", "metadata"]
