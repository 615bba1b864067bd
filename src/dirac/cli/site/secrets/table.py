"""The table of secrets: what there is, who uses it, and what another value of it means.

A row is one secret, or two that belong together (a key and its certificate). The names are variables of
Ansible; ``inventories/common`` hands them to the roles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """How a secret is made."""

    PASSWORD = "password"  # noqa: S105 - a kind, no password
    KEY = "key"
    ACCESS_KEY = "S3 key"
    CA = "X.509 CA"


class Secret(NamedTuple):
    """One row.

    Attributes:
        names: Variables, the first names the secret.
        kind: How it is made.
        groups: It is needed if one of these groups has hosts. The first owns it.
        purpose: What it opens.
        rotation: What rotation does.
        by_default: Rotated when no secret is named; others would cost users something.
        is_kept: The old value is kept for good, since old things can be opened with it only.
    """

    names: tuple[str, ...]
    kind: Kind
    groups: tuple[str, ...]
    purpose: str
    rotation: str
    by_default: bool = True
    is_kept: bool = False

    @property
    def name(self) -> str:
        """Its first name."""
        return self.names[0]


_ALL = (
    Secret(
        ("vault_master_key",),
        Kind.KEY,
        ("dirac_server", "dirac_worker", "dirac_scheduler"),
        "signs tokens; the keys of pilots and cookies are derived from it",
        "rolling restart of all DIRAC services; users log in again, waiting pilots are refused",
        by_default=False,
    ),
    Secret(
        ("vault_mariadb_dirac_password",),
        Kind.PASSWORD,
        ("mariadb",),
        "the services' account in MariaDB",
        "the account gets it, then a rolling restart of the DIRAC services",
    ),
    Secret(
        ("vault_mariadb_dirac_migration_password",),
        Kind.PASSWORD,
        ("mariadb",),
        "the account in MariaDB that may change tables",
        "the account gets it; restarts nothing",
    ),
    Secret(
        ("vault_mariadb_backup_password",),
        Kind.PASSWORD,
        ("mariadb",),
        "the account in MariaDB that backups are made with",
        "the account gets it; restarts nothing",
    ),
    Secret(
        ("vault_mariadb_exporter_password",),
        Kind.PASSWORD,
        ("mariadb",),
        "the account in MariaDB that figures are read with",
        "the account gets it, the exporter is restarted",
    ),
    Secret(
        ("vault_postgresql_dirac_password",),
        Kind.PASSWORD,
        ("postgresql",),
        "the services' account in PostgreSQL",
        "the account gets it, then a rolling restart of the DIRAC services",
    ),
    Secret(
        ("vault_postgresql_dirac_migration_password",),
        Kind.PASSWORD,
        ("postgresql",),
        "the account in PostgreSQL that may change tables",
        "the account gets it; restarts nothing",
    ),
    Secret(
        ("vault_rabbitmq_dirac_password",),
        Kind.PASSWORD,
        ("rabbitmq",),
        "the services' account in RabbitMQ",
        "the account gets it, then a rolling restart of the DIRAC services",
    ),
    Secret(
        ("vault_rabbitmq_admin_password",),
        Kind.PASSWORD,
        ("rabbitmq",),
        "the operators' account in RabbitMQ",
        "the account gets it; restarts nothing",
    ),
    Secret(
        ("vault_opensearch_admin_password",),
        Kind.PASSWORD,
        ("opensearch",),
        "the operators' account in OpenSearch",
        "the account gets it; restarts nothing",
    ),
    Secret(
        ("vault_opensearch_dirac_password",),
        Kind.PASSWORD,
        ("opensearch",),
        "the services' account in OpenSearch",
        "the account gets it, then a rolling restart of the DIRAC services",
    ),
    Secret(
        ("vault_opensearch_logs_password",),
        Kind.PASSWORD,
        ("opensearch",),
        "the account in OpenSearch that logs are written with",
        "the account gets it, log shipping is restarted",
    ),
    Secret(
        ("vault_object_store_access_key", "vault_object_store_secret_key"),
        Kind.ACCESS_KEY,
        ("object_store",),
        "the bucket of the sandboxes",
        "the store gets the new pair, then a rolling restart of the DIRAC services",
    ),
    Secret(
        ("vault_pki_ca_key", "vault_pki_ca_certificate"),
        Kind.CA,
        ("pki",),
        "signs the certificates of all hosts (EC P-256, 10 years); only for a site with a CA of its own",
        "all hosts get new certificates and the new CA, every service with TLS takes them over; until the "
        "last has, services of several hosts refuse each other, so plan a short stop; clients have to be "
        "given the new CA",
        by_default=False,
    ),
    Secret(
        ("vault_grafana_admin_password",),
        Kind.PASSWORD,
        ("grafana",),
        "the operators' account in Grafana",
        "the account gets it; restarts nothing",
    ),
    Secret(
        ("vault_backup_password",),
        Kind.KEY,
        ("backup",),
        "encrypts backups",
        "new backups use it; the old value is kept, since older backups can be opened with it only",
        is_kept=True,
    ),
)

SECRETS = {secret.name: secret for secret in _ALL}
PREVIOUS = "vault_previous_"
RETIRED = "vault_retired_"


def previous(name: str) -> str:
    """Return the name under which the old value is kept while a secret is rotated."""
    return PREVIOUS + name.removeprefix("vault_")


def retired(name: str) -> str:
    """Return the name of the list of old values that are kept for good."""
    return RETIRED + name.removeprefix("vault_")


def needed(groups: Collection[str]) -> Iterator[Secret]:
    """Give the secrets that a site needs whose hosts are in some groups."""
    for secret in SECRETS.values():
        if not set(groups).isdisjoint(secret.groups):
            yield secret


def page() -> str:
    """Return the table as a page of documentation has it."""
    lines = [
        "| secret | kind | needed by | opens | what rotation does | when none is named |",
        "|---|---|---|---|---|---|",
    ]
    for secret in SECRETS.values():
        names = ", ".join(f"`{name}`" for name in secret.names)
        groups = ", ".join(f"`{group}`" for group in secret.groups)
        default = "rotated" if secret.by_default else "left alone"
        lines.append(
            f"| {names} | {secret.kind} | {groups} | {secret.purpose} | {secret.rotation} | {default} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
