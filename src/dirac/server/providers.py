"""What the configuration says of logins, in the identity system's words."""

from __future__ import annotations

from dirac.core.secrets import SecretReference
from dirac.resources.identity.outside import ProviderSettings
from dirac.resources.secrets.resolving import ReferredSecret, Secrets
from dirac.server.references import Limits
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


def rules_of(tree: Tree, vo: str, settings: Settings, secrets: Secrets) -> LoginRules:
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
        provider=provider_settings(given, settings, secrets),
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


def provider_settings(given: IdentityProvider, settings: Settings, secrets: Secrets) -> ProviderSettings:
    """Return how to speak to a provider from this server."""
    secret, key, token = provider_secrets(given, settings, secrets)
    return ProviderSettings(
        issuer=given.issuer,
        client_id=given.client_id,
        client_secret=secret,
        client_key=key,
        client_key_id=given.client_key_id,
        scopes=tuple(given.scopes),
        username_claim=given.username_claim,
        group_claims=tuple(given.group_claims),
        scim_url=given.scim_url,
        scim_scopes=tuple(given.scim_scopes),
        scim_token=token,
        scim_groups=given.scim_groups,
    )


def provider_secrets(
    given: IdentityProvider, settings: Settings, secrets: Secrets
) -> tuple[ReferredSecret | None, ReferredSecret | None, ReferredSecret | None]:
    """Return what is secret of DIRAC at a provider, where there is such a thing.

    These are the client's secret, also in the old spelling, its key, and the token for the list of users.
    """
    option, reference = "client_secret", given.client_secret
    if given.client_secret_file is not None:
        option, reference = "client_secret_file", SecretReference(file=given.client_secret_file)
    elif given.client_secret_variable is not None:
        option, reference = (
            "client_secret_variable",
            SecretReference(environment=given.client_secret_variable),
        )
    limits = Limits(settings)

    def secret(option: str, reference: SecretReference | None) -> ReferredSecret | None:
        return None if reference is None else ReferredSecret(reference, option, secrets, limits)

    return (
        secret(option, reference),
        secret("client_key", given.client_key),
        secret("scim_token", given.scim_token),
    )
