"""Secrets: the table, making them, completing and rotating them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from dirac.cli.site.layout import ORDER
from dirac.cli.site.look import secret_rows
from dirac.cli.site.secrets.keep import begin, choose, complete, end, missing, rotating
from dirac.cli.site.secrets.make import authority, make
from dirac.cli.site.secrets.table import SECRETS, page, previous
from dirac.cli.site.secrets.vault import MADE
from dirac.core.errors import InvalidInputError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOT = Path(__file__).parents[4]
EVERY = [*SECRETS.values()]
PASSWORD = "vault_mariadb_dirac_password"


def test_the_names_are_those_of_roles_and_none_is_there_twice() -> None:
    names = [name for secret in EVERY for name in secret.names]
    assert len(names) == len(set(names))
    for secret in EVERY:
        assert set(secret.groups) <= set(ORDER)
        assert all(name.startswith("vault_") for name in secret.names)


def test_the_page_has_the_table() -> None:
    text = (ROOT / "docs/operator/secrets.md").read_text("utf-8")
    assert page() in text, "put the output of `python -m dirac.cli.site.secrets.table` into it"


@pytest.mark.parametrize("secret", EVERY, ids=lambda secret: secret.name)
def test_two_makings_have_nothing_in_common(secret: object) -> None:
    one, other = make(secret, "lab"), make(secret, "lab")  # type: ignore[arg-type]
    assert set(one) == set(secret.names)  # type: ignore[attr-defined]
    assert not set(one.values()) & set(other.values())
    assert all(len(value) >= 20 for value in one.values())


def test_the_authority_signs_host_certificates_and_nothing_else() -> None:
    key, pem = authority("lab", now=NOW)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (
        True,
        True,
        False,
    )
    assert certificate.not_valid_after_utc.year == 2036
    private = load_pem_private_key(key.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(certificate)


def test_only_what_the_groups_need_is_missing() -> None:
    names = {secret.name for secret in missing({}, {"mariadb", "pki"}, own_ca=True)}
    assert PASSWORD in names
    assert "vault_pki_ca_key" in names
    assert "vault_postgresql_dirac_password" not in names
    assert "vault_pki_ca_key" not in {one.name for one in missing({}, {"pki"}, own_ca=False)}


def test_completing_leaves_what_is_there() -> None:
    values = complete(
        {PASSWORD: "old", "mine": "kept"}, missing({PASSWORD: "old"}, {"mariadb"}, own_ca=True), "lab", NOW
    )
    assert values[PASSWORD] == "old"
    assert values["mine"] == "kept"
    assert values[MADE]["vault_mariadb_backup_password"] == "2026-01-02T03:04:05Z"
    assert missing(values, {"mariadb"}, own_ca=True) == []


def full() -> dict[str, object]:
    return dict(complete({}, EVERY, "lab", NOW))


def test_without_names_all_is_chosen_but_what_would_cost_users_something() -> None:
    chosen = {secret.name for secret in choose(full(), [])}
    assert PASSWORD in chosen
    assert not {"vault_master_key", "vault_pki_ca_key"} & chosen


def test_the_halves_of_a_pair_are_rotated_together() -> None:
    assert [one.names for one in choose(full(), ["vault_pki_ca_certificate"])] == [
        ("vault_pki_ca_key", "vault_pki_ca_certificate")
    ]


def test_a_secret_that_is_not_there_cannot_be_chosen() -> None:
    with pytest.raises(InvalidInputError, match="no secret 'vault_typo'"):
        choose(full(), ["vault_typo"])
    with pytest.raises(InvalidInputError, match="no secret 'vault_master_key'"):
        choose({PASSWORD: "x"}, ["vault_master_key"])


def test_a_rotation_keeps_the_old_value_until_its_end() -> None:
    values = full()
    under_way = begin(values, choose(values, [PASSWORD]), "lab", NOW)
    assert under_way[previous(PASSWORD)] == values[PASSWORD]
    assert under_way[PASSWORD] != values[PASSWORD]
    assert [one.name for one in rotating(under_way)] == [PASSWORD]
    ended = end(under_way)
    assert ended == {**values, PASSWORD: under_way[PASSWORD], MADE: under_way[MADE]}


def test_a_rotation_that_goes_on_keeps_its_new_value() -> None:
    values = full()
    once = begin(values, choose(values, [PASSWORD]), "lab", NOW)
    assert begin(once, choose(once, [PASSWORD]), "lab", NOW) == once


def test_old_backups_can_still_be_opened() -> None:
    values, name = full(), "vault_backup_password"
    first = end(begin(values, choose(values, [name]), "lab", NOW))
    second = end(begin(first, choose(first, [name]), "lab", NOW))
    assert second["vault_retired_backup_password"] == [values[name], first[name]]


def test_a_list_of_secrets_tells_everything_but_values() -> None:
    values = full()
    rows = secret_rows(values, datetime(2026, 1, 12, 4, tzinfo=UTC))
    assert {row["age"] for row in rows} == {"10 d"}
    shown = str(rows)
    hidden = [value for name, value in values.items() if name != MADE]
    assert not [value for value in hidden if str(value) in shown]
