# SPDX-License-Identifier: GPL-3.0-or-later
"""A database on the network: who may do what, over TLS only."""

from __future__ import annotations

from typing import Any

import pytest

PASSWORDS = {
    "dirac": 'it\'s "quoted" \\ : and ü',
    "dirac_migration": "for the migration",
    "backup": "for the backup",
    "exporter": "for the exporter",
}
TLS = "sslmode=verify-full sslrootcert=/etc/dirac/pki/ca.pem"


def login(host: Any, user: str, statement: str, *, tls: str = TLS, database: str = "dirac_two") -> Any:
    place = f"host={host.check_output('hostname -f')} user={user} dbname={database} {tls}"
    return host.run("PGPASSWORD=%s psql -XqAt -v ON_ERROR_STOP=1 %s -c %s", PASSWORDS[user], place, statement)


def refused(host: Any, user: str, statement: str) -> None:
    answer = login(host, user, statement)
    assert answer.rc == 1
    assert "permission denied" in answer.stderr


@pytest.mark.parametrize("user", PASSWORDS)
def test_every_user_logs_in_over_tls_and_not_without(host: Any, user: str) -> None:
    shown = login(host, user, "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert shown.stdout.startswith("TLSv1."), shown.stderr
    without = login(host, user, "SELECT 1", tls="sslmode=disable")
    assert without.rc == 2
    assert "no pg_hba.conf entry" in without.stderr


def test_service_works_on_rows_and_migration_on_tables(host: Any) -> None:
    made = login(host, "dirac_migration", "CREATE TABLE t (i SERIAL PRIMARY KEY, s TEXT)")
    assert made.rc == 0, made.stderr
    rows = "INSERT INTO t (s) VALUES ('a'), ('A'); UPDATE t SET s = 'b' WHERE s = 'a';"
    found = login(host, "dirac", rows + "SELECT i FROM t WHERE s = 'b'; DELETE FROM t")
    assert found.stdout.strip() == "1", found.stderr
    refused(host, "dirac", "CREATE TABLE u (i INT)")
    refused(host, "dirac", "SELECT * FROM pg_authid")
    assert login(host, "dirac", "DROP TABLE t").rc == 1
    assert login(host, "dirac_migration", "CREATE DATABASE other").rc == 1
    refused(host, "backup", "DELETE FROM t")
    refused(host, "exporter", "SELECT * FROM t")
    assert login(host, "dirac_migration", "DROP TABLE t").rc == 0


def test_backup_user_can_copy_the_server(host: Any) -> None:
    place = f"host={host.check_output('hostname -f')} user=backup {TLS}"
    command = "PGPASSWORD=%s sh -c 'pg_basebackup -d \"$0\" -Ft -X fetch -D - --checkpoint=fast | tar -t' %s"
    listed = host.check_output(command, PASSWORDS["backup"], place)
    assert "PG_VERSION" in listed.splitlines()


def test_exporter_sees_figures(host: Any) -> None:
    assert login(host, "exporter", "SELECT count(*) > 0 FROM pg_stat_activity").stdout.strip() == "t"


def test_database_of_the_server_is_closed(host: Any) -> None:
    answer = login(host, "dirac", "SELECT 1", database="postgres")
    assert answer.rc == 2
    assert "no pg_hba.conf entry" in answer.stderr


def test_settings_given_override_the_role_s(host: Any) -> None:
    said = [
        login(host, "dirac", f"SHOW {name}").stdout.strip()
        for name in ("deadlock_timeout", "max_connections")
    ]
    assert said == ["3s", "123"]


def test_passwords_are_kept_as_scram_and_are_in_no_log(host: Any) -> None:
    kept = host.check_output(
        "runuser -u postgres -- psql -XqAt -c %s",
        "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL",
    )
    assert [line.split("$")[0] for line in kept.splitlines()] == ["SCRAM-SHA-256"] * len(PASSWORDS)
    for word in ("for the migration", "SCRAM-SHA-256"):
        assert host.run("grep -rqF -- %s /var/log/postgresql", word).rc == 1
