"""What must fit together in a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from dirac.core.errors import InvalidInputError
from dirac.core.secrets import SecretReference
from dirac.systems.configuration import document
from dirac.systems.configuration.checks import Checker

PLUGINS = {
    "dirac.computing": ["local", "slurm"],
    "dirac.identity": ["oidc"],
    "dirac.identity_provider": ["oidc"],
}
IAM = {"issuer": "https://iam.test", "client_id": "dirac"}


def _check_computing(plugin: str, name: str, settings: Mapping[str, Any]) -> None:
    if "unknown" in settings:
        raise InvalidInputError("no setting 'unknown'", where=f"computing element {name!r}", hint="Use host")


def _faults(**tree: Any) -> list[tuple[str, str]]:
    checker = Checker(lambda kind: PLUGINS.get(kind, []), _check_computing)
    return [("/".join(path), text) for path, text in checker.check(tree)]


def _vo(**options: Any) -> dict[str, Any]:
    return {"astro": {"default_group": "user", "groups": {"user": {}}, **options}}


def _element(**element: Any) -> dict[str, Any]:
    sites = {"LCG.Here.ch": {"virtual_organisations": ["astro"], "computing_elements": {"ce": element}}}
    return {"virtual_organisations": _vo(), "sites": sites}


def test_what_fits_has_no_fault() -> None:
    users = {"alice": {"groups": ["user"]}, "bob": {"groups": ["user"], "sub": "b-1"}}
    assert _faults(virtual_organisations=_vo(users=users, identity_provider="oidc")) == []
    iam = IAM | {"groups": {"/a": ["user"]}, "client_secret_file": "/x"}
    assert _faults(virtual_organisations=_vo(identity_provider=iam)) == []
    assert _faults(**_element(type="local", settings={"host": "a", "token_file": "/x", "port": 1})) == []


def test_a_certificate_is_one_user_s_of_a_vo_or_one_host_s() -> None:
    dn = "/C=ch/CN=ada"
    ada = {"groups": ["user"], "dns": [dn]}
    both = _vo(users={"ada": ada}) | {"bio": _vo(users={"ada": ada})["astro"]}
    assert _faults(virtual_organisations=both, hosts={"node": {"dn": "/C=ch/CN=node"}}) == []
    twice = _vo(users={"ada": ada, "eve": {"groups": ["user"], "dns": ["/C=ch/CN=eve", dn]}})
    said = f"the certificate `{dn}` is that of `ada` as well"
    assert _faults(virtual_organisations=twice) == [("virtual_organisations/astro/users/eve/dns/1", said)]
    hosts = {"node": {"dn": dn}, "other": {"dn": dn}}
    assert _faults(hosts=hosts) == [("hosts/other/dn", f"the certificate `{dn}` is that of `node` as well")]
    ((place, _),) = _faults(virtual_organisations=_vo(users={"ada": ada}), hosts={"node": {"dn": dn}})
    assert place == "virtual_organisations/astro/users/ada/dns/0"


@pytest.mark.parametrize(
    ("shadow", "path", "text"),
    [
        ({"shares": {"astr": {}}}, "shares/astr", "there is no VO `astr`; did you mean `astro`?"),
        ({"shares": {"astro": {"groups": {"usr": 1}}}}, "shares/astro/groups/usr", "there is no group `usr`"),
        ({"shares": {"astro": {"users": {"a": 1}}}}, "shares/astro/users/a", "there is no user `a`"),
        ({"limits": {"LCG.There.ch": {}}}, "limits/LCG.There.ch", "there is no site `LCG.There.ch`"),
        ({"banned_sites": {"bio": []}}, "banned_sites/bio", "there is no VO `bio`"),
        ({"banned_sites": {"astro": ["X"]}}, "banned_sites/astro/0", "there is no site `X`"),
    ],
)
def test_a_candidate_changes_what_is_there(shadow: dict[str, Any], path: str, text: str) -> None:
    good = {
        "shares": {"astro": {"groups": {"user": 5}}},
        "limits": {"LCG.Here.ch": {"all": {"max_running": 5}}},
        "banned_sites": {"astro": ["LCG.Here.ch"]},
    }
    element = _element(type="local")
    assert _faults(**element, workload={"shadow": good}) == []
    ((place, found),) = _faults(**element, workload={"shadow": shadow})
    assert place == f"workload/shadow/{path}"
    assert found.startswith(text)


@pytest.mark.parametrize(
    ("options", "path", "text"),
    [
        ({"default_group": "usr"}, "default_group", "there is no group `usr`; did you mean `user`?"),
        (
            {"identity_provider": "x"},
            "identity_provider",
            "no identity provider `x`; known are `oidc`, `password`",
        ),
        ({"users": {"a": {"groups": ["usr"]}}}, "users/a/groups/0", "there is no group `usr`"),
        (
            {"identity_provider": IAM | {"type": "saml"}},
            "identity_provider/type",
            "there is no identity provider plugin `saml`; known are `oidc`",
        ),
        (
            {"identity_provider": IAM | {"groups": {"/a": ["user", "usr"]}}},
            "identity_provider/groups//a/1",
            "there is no group `usr`; did you mean `user`?",
        ),
        (
            {"identity_provider": IAM | {"client_secret_file": "f", "client_secret_variable": "V"}},
            "identity_provider/client_secret_variable",
            "as well; remove one of them",
        ),
        (
            {"identity_provider": IAM | {"client_secret_file": "f", "client_key": {"file": "k"}}},
            "identity_provider/client_key",
            "as well; remove one of them",
        ),
        (
            {"identity_provider": IAM | {"scim_token": {"file": "k"}}},
            "identity_provider/scim_token",
            "there is no `scim_url`",
        ),
        (
            {"identity_provider": IAM | {"scim_groups": True}},
            "identity_provider/scim_groups",
            "there is no `scim_url`",
        ),
        (
            {"identity_provider": IAM | {"scim_url": "https://x", "scim_token": {"filed": "k"}}},
            "identity_provider/scim_token",
            "file",
        ),
        (
            {"identity_provider": IAM | {"scim_url": "http://iam.example.org/scim/Users"}},
            "identity_provider/scim_url",
            "in the clear; use https",
        ),
        ({"identity_provider": IAM | {"issuer": "http://["}}, "identity_provider/issuer", "use https"),
        ({"identity_provider": IAM | {"issuer": "http://iam"}}, "identity_provider/issuer", "use https"),
        (
            {"capability_tokens": {"audiences": ["x"], "groups": {"usr": {}}}},
            "capability_tokens/groups/usr",
            "there is no group `usr`; did you mean `user`?",
        ),
        (
            {"capability_tokens": {"audiences": ["x"], "issued_by": "provider"}},
            "capability_tokens/issued_by",
            "the VO has no outside identity provider",
        ),
        (
            {"users": {"a": {"groups": ["user", "user"]}}},
            "users/a/groups/1",
            "the group `user` is here twice",
        ),
        (
            {"users": {"a": {"groups": ["user"]}, "b": {"groups": ["user"], "sub": "a"}}},
            "users/b",
            "the subject `a` is that of the user `a` as well",
        ),
    ],
)
def test_a_vo_that_does_not_fit(options: dict[str, Any], path: str, text: str) -> None:
    ((place, found),) = _faults(virtual_organisations=_vo(**options))
    assert place == f"virtual_organisations/astro/{path}"
    assert text in found


def test_the_same_subject_in_two_vos_is_two_people() -> None:
    vo = _vo(users={"alice": {"groups": ["user"]}})["astro"]
    assert _faults(virtual_organisations={"astro": vo, "bio": vo}) == []


def test_a_site_of_an_unknown_vo() -> None:
    sites = {"LCG.Here.ch": {"virtual_organisations": ["astr"]}}
    ((place, text),) = _faults(virtual_organisations=_vo(), sites=sites)
    assert place == "sites/LCG.Here.ch/virtual_organisations/0"
    assert text == "there is no VO `astr`; did you mean `astro`?"


def test_an_unknown_computing_plugin() -> None:
    ((place, text),) = _faults(**_element(type="slrm"))
    assert place.endswith("computing_elements/ce/type")
    assert text == "there is no computing plugin `slrm`; did you mean `slurm`?"


def test_settings_that_the_plugin_refuses() -> None:
    ((place, text),) = _faults(**_element(type="slurm", settings={"unknown": 1}))
    assert place.endswith("computing_elements/ce/settings")
    assert text == "computing element 'ce': no setting 'unknown'. Use host"


@pytest.mark.parametrize(
    "name",
    ["password", "client_secret", "Token", "accessToken", "apiKey", "private-key", "PASSPHRASE", "user.pwd"],
)
def test_a_setting_that_is_called_like_a_secret_is_refused(name: str) -> None:
    ((place, text),) = _faults(**_element(type="slurm", settings={"deep": [{name: "hunter2"}]}))
    assert place.endswith(f"settings/deep/0/{name}")
    assert "{file: FILE}" in text
    assert "hunter2" not in text
    assert _faults(**_element(type="slurm", settings={"deep": [{name: {"file": "x"}}]})) == []
    ((place, text),) = _faults(operations={name: {"file": "x"}})  # nobody follows references there
    assert place == f"operations/{name}"
    assert "secrets never belong in the configuration" in text


def test_a_secret_where_a_reference_is_meant_is_refused_with_its_place_and_not_repeated() -> None:
    text = """\
virtual_organisations:
  astro:
    default_group: user
    groups: {user: {}}
    identity_provider:
      issuer: https://iam.test
      client_id: dirac
      client_secret: hunter2
"""
    for secret in ("hunter2", "{value: hunter2}", "[hunter2]", "1234567"):
        found = document.read(text.replace("hunter2", secret, 1), "vo.yml").faults
        (fault,) = found
        assert (fault.line, fault.path[:4]) == (
            8,
            ("virtual_organisations", "astro", "identity_provider", "client_secret"),
        )
        assert "hunter2" not in fault.message
        assert "1234567" not in fault.message
    assert "{file: FILE}" in document.read(text, "vo.yml").faults[0].message


@pytest.mark.parametrize("given", [{}, {"file": "a", "environment": "B"}, {"vault": "../x", "key": "a"}])
def test_a_reference_leads_to_one_place(given: dict[str, str]) -> None:
    ((place, _),) = _faults(virtual_organisations=_vo(identity_provider=IAM | {"client_secret": given}))
    assert place == "virtual_organisations/astro/identity_provider/client_secret"


@pytest.mark.parametrize(
    "given",
    [{"client_secret": {"file": "own"}}, {"client_secret_file": "own"}, {"client_secret_variable": "own"}],
)
def test_a_reference_that_may_not_be_followed_is_refused(given: dict[str, Any]) -> None:
    def refused(reference: SecretReference) -> str | None:
        return "the server's own" if reference.place == "own" else None

    checker = Checker(lambda kind: PLUGINS.get(kind, []), _check_computing, refused)
    tree = {"virtual_organisations": _vo(identity_provider=IAM | given)}
    assert [text for _, text in checker.check(tree)] == ["the server's own"]
    element = _element(type="slurm", settings={"password": {"file": "own"}})
    assert [text for _, text in checker.check(element)] == ["the server's own"]


def test_plugins_are_not_asked_with_secrets_in_a_check() -> None:
    shown: list[Mapping[str, Any]] = []
    checker = Checker(lambda kind: PLUGINS.get(kind, []), lambda _plugin, _name, given: shown.append(given))
    assert list(checker.check(_element(type="slurm", settings={"token": {"file": "/etc/passwd"}}))) == []
    assert shown == [{"token": "(a secret)"}]


@pytest.mark.parametrize(
    "name", ["password_file", "tokenPath", "token_seconds", "keyboard", "private", "secretary"]
)
def test_a_setting_that_only_sounds_like_one_is_accepted(name: str) -> None:
    assert _faults(**_element(type="slurm", settings={name: "x"})) == []


def test_a_password_in_an_address_is_refused() -> None:
    ((place, _),) = _faults(**_element(type="slurm", settings={"url": "https://me:secret@host/x"}))
    assert place.endswith("settings/url")
    assert _faults(**_element(type="slurm", settings={"url": "https://host:80/a@b"})) == []


def test_what_other_faults_left_of_a_tree_is_still_checked() -> None:
    tree = {"astro": {"users": {"a": {}}}, "bio": {"default_group": "x", "groups": {}}}
    assert [place for place, _ in _faults(virtual_organisations=tree)] == [
        "virtual_organisations/bio/default_group"
    ]
