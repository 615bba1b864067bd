"""What references of the configuration may lead to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from dirac.core.errors import InvalidInputError
from dirac.core.reference import bare
from dirac.core.secrets import SecretReference
from dirac.server.providers import provider_secrets
from dirac.server.references import Limits
from dirac.server.settings import Settings, load
from dirac.systems.configuration.models import DelegatedOption, IdentityProvider, VirtualOrganisation

TOML = """\
[database]
url_file = "secrets/database.url"
[worker]
broker_url = {sops = "secrets/site.yml", key = "broker"}
[sandboxes.settings]
secret_access_key = {vault = "dirac/s3", key = "secret"}
[secrets]
age_identity_file = "secrets/age.key"
[secrets.vault]
token_file = "/run/vault/token"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "dirac.toml").write_text(TOML)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "master.key").write_text("x" * 64)
    (tmp_path / "master.key").chmod(0o600)
    return load(tmp_path / "dirac.toml")


@pytest.mark.parametrize(
    "given",
    [
        {"file": "master.key"},
        {"file": "secrets/../master.key"},
        {"age": "master.key"},
        {"sops": "master.key", "key": "a"},
        {"file": "secrets/database.url"},
        {"file": "secrets/site.yml"},
        {"sops": "secrets/site.yml", "key": "iam"},
        {"file": "secrets/age.key"},
        {"file": "/run/vault/token"},
        {"vault": "dirac/s3", "key": "other"},
        {"file": "dirac.db"},
        {"file": "/proc/self/environ"},
        {"file": "/dev/stdin"},
        {"sops": "sandboxes/ab/cd", "key": "a"},
        {"file": "secrets/../sandboxes/ab"},
        {"sops": "git/x.git/config", "key": "a"},
        {"file": "pilots/ce/stamp/file"},
    ],
)
def test_the_servers_own_secrets_are_not_for_the_configuration(
    settings: Settings, given: dict[str, str]
) -> None:
    assert Limits(settings)(SecretReference(**given)) is not None


def test_a_link_does_not_help(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "soft").symlink_to("master.key")
    (tmp_path / "hard").hardlink_to(tmp_path / "master.key")
    for name in ("soft", "hard"):
        refused = Limits(settings)(SecretReference(file=name))
        assert refused is not None
        assert "master_key_file" in refused


def test_other_places_are_free_until_the_settings_name_some(settings: Settings, tmp_path: Path) -> None:
    bio = SecretReference(file="secrets/identity-bio")
    assert Limits(settings)(bio) is None
    allowed = [f"file:{os.path.realpath(tmp_path)}/secrets/identity-*", "vault:vo/*"]
    narrow = msgspec.structs.replace(
        settings, secrets=msgspec.structs.replace(settings.secrets, from_configuration=allowed)
    )
    limits = Limits(narrow)
    assert limits(bio) is None
    assert limits(SecretReference(vault="vo/bio", key="a")) is None
    for given in ({"file": "secrets/other"}, {"environment": "PATH"}, {"vault": "site/x", "key": "a"}):
        assert "from_configuration" in (limits(SecretReference(**given)) or "")
    (tmp_path / "secrets" / "identity-link").symlink_to("/etc/passwd")
    assert limits(SecretReference(file="secrets/identity-link")) is not None


@pytest.mark.parametrize(
    "given",
    [
        {"client_secret": SecretReference(file="master.key")},
        {"client_secret_file": "master.key"},
        {"client_key": SecretReference(file="master.key")},
        {"scim_token": SecretReference(file="master.key")},
    ],
)
def test_a_provider_is_not_shown_the_master_key(settings: Settings, given: dict[str, Any]) -> None:
    provider = IdentityProvider(issuer="https://evil.test", client_id="x", **given)
    (secret,) = filter(None, provider_secrets(provider, settings, settings.make_secrets()))
    with pytest.raises(InvalidInputError, match="a secret of the server's own") as caught:
        secret.read()
    assert "xxxx" not in str(caught.value)


def test_the_old_spelling_means_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = settings.make_secrets()
    monkeypatch.setenv("OF_A_TEST", "hunter2")
    file = settings.path("secrets/iam")
    file.write_text("hunter2")
    file.chmod(0o600)
    for given in (
        {"client_secret_file": "secrets/iam"},
        {"client_secret_variable": "OF_A_TEST"},
        {"client_secret": SecretReference(file="secrets/iam")},
        {"client_secret": SecretReference(environment="OF_A_TEST")},
    ):
        provider = IdentityProvider(issuer="https://a.test", client_id="x", **given)  # type: ignore[arg-type]
        secret, *others = provider_secrets(provider, settings, secrets)
        assert secret is not None
        assert others == [None, None]
        assert secret.read() == "hunter2"
    public = IdentityProvider(issuer="https://a.test", client_id="x")
    assert provider_secrets(public, settings, secrets) == (None, None, None)


def _types(kind: inspect.Type) -> Iterator[inspect.Type]:
    kind = bare(kind)
    yield kind
    for inner in (
        *getattr(kind, "types", ()),
        getattr(kind, "value_type", None),
        getattr(kind, "item_type", None),
    ):
        if inner is not None:
            yield from _types(inner)
    for field in getattr(kind, "fields", ()):
        yield from _types(field.type)


def test_no_option_that_a_vo_may_own_refers_to_a_secret() -> None:
    """Who administers a VO would have a file of the server read for them."""
    info = inspect.type_info(VirtualOrganisation)
    assert isinstance(info, inspect.StructType)
    referring = {
        field.name
        for field in info.fields
        if any(
            isinstance(kind, inspect.StructType) and kind.cls is SecretReference
            for kind in _types(field.type)
        )
    }
    assert referring == {"identity_provider"}
    assert referring.isdisjoint(str(option.value) for option in DelegatedOption)
