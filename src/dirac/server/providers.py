"""What the configuration says of logins, in the identity system's words."""

from __future__ import annotations

import msgspec

from dirac.resources.identity.outside import ProviderSettings
from dirac.server.settings import Settings
from dirac.systems.configuration.models import (
    STORAGE_VERBS,
    IdentityProvider,
    IssuedBy,
    Tree,
    VirtualOrganisation,
)
from dirac.systems.identity.logic.capabilities import CapabilityRules
from dirac.systems.identity.logic.provider_claims import LoginRules
from dirac.systems.identity.models import AcceptableUse


def rules_of(tree: Tree, vo: str, settings: Settings) -> LoginRules:
    """Return the rules of logins to a VO; those of one that does not exist let nobody in."""
    found = tree.virtual_organisations.get(vo)
    if found is None:
        return LoginRules()
    use = found.acceptable_use
    policy = None if use is None else AcceptableUse(use.version, use.text)
    given = found.identity_provider
    if isinstance(given, str):
        return LoginRules(policy=policy, capabilities=capability_rules(found))
    return LoginRules(
        plugin=given.type,
        provider=provider_settings(given, settings),
        admits=given.admits.value,
        groups=given.groups,
        default_group=found.default_group,
        offline_seconds=given.offline_hours * 3600,
        policy=policy,
        capabilities=capability_rules(found),
    )


def capability_rules(given: VirtualOrganisation) -> CapabilityRules | None:
    """Return who of a VO gets tokens for storage and computing elements."""
    if (tokens := given.capability_tokens) is None:
        return None
    groups: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, group in tokens.groups.items():
        paths = {f"storage.{verb}": tuple(getattr(group, verb)) for verb in STORAGE_VERBS}
        scopes = {scope: below for scope, below in paths.items() if below}
        groups[name] = scopes | {f"compute.{verb}": () for verb in group.compute}
    return CapabilityRules(
        audiences=tuple(tokens.audiences),
        groups=groups,
        seconds=tokens.seconds,
        from_provider=tokens.issued_by is IssuedBy.PROVIDER,
    )


def provider_settings(given: IdentityProvider, settings: Settings) -> ProviderSettings:
    """Return how to speak to a provider from this server."""
    options = {name: getattr(given, name) for name in ProviderSettings.__struct_fields__}
    for name in ("client_secret_file", "client_key_file"):
        if (file := getattr(given, name)) is not None:
            options[name] = str(settings.path(file))
    return msgspec.convert(options, ProviderSettings)
