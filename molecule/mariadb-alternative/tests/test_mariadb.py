# SPDX-License-Identifier: GPL-3.0-or-later
"""A database on the network: who may do what, over TLS only."""

from __future__ import annotations

from typing import Any

import pytest

PASSWORDS = {
    "dirac": "it's \"quoted\" \\ and ü",
    "dirac_migration": "for the migration",
    "backup": "for the backup",
    "exporter": "for the exporter",
}
TLS = "--ssl-ca=/etc/dirac/pki/ca.pem --ssl-verify-server-cert"


def login(host: Any, user: str, statement: str, options: str = TLS, program: str = "mariadb --batch -N --execute=%s") -> Any:
    command = program.replace(" ", f" --host=database.dirac.test --protocol=tcp --user={user} {options} ", 1)
    return host.run("MYSQL_PWD=%s " + command, PASSWORDS[user], statement)


def refused(host: Any, user: str, statement: str) -> None:
    answer = login(host, user, statement)
    assert answer.rc == 1
    assert "denied" in answer.stderr


@pytest.mark.parametrize("user", PASSWORDS)
def test_every_user_logs_in_over_tls_and_not_without(host: Any, user: str) -> None:
    shown = login(host, user, "SHOW STATUS LIKE 'Ssl_version'")
    assert shown.stdout.startswith("Ssl_version\tTLSv1."), shown.stderr
    without = login(host, user, "SELECT 1", "--skip-ssl")
    assert without.rc == 1
    assert "secure" in without.stderr or "denied" in without.stderr


def test_service_works_on_rows_and_migration_on_tables(host: Any) -> None:
    made = login(host, "dirac_migration", "CREATE TABLE dirac_two.t (i INT PRIMARY KEY, s VARCHAR(9))")
    assert made.rc == 0, made.stderr
    rows = "INSERT INTO dirac_two.t VALUES (1, 'a'), (2, 'A'); UPDATE dirac_two.t SET s = 'b' WHERE s = 'a';"
    found = login(host, "dirac", rows + "SELECT i FROM dirac_two.t WHERE s = 'b'; DELETE FROM dirac_two.t")
    assert found.stdout.strip() == "1", found.stderr
    for statement in ("CREATE TABLE dirac_two.u (i INT)", "DROP TABLE dirac_two.t", "SELECT * FROM mysql.global_priv"):
        refused(host, "dirac", statement)
    refused(host, "dirac_migration", "CREATE DATABASE other")
    assert login(host, "dirac_migration", "DROP TABLE dirac_two.t").rc == 0


def test_name_of_the_database_is_no_pattern(host: Any) -> None:
    host.check_output("mariadb --execute='CREATE DATABASE diracXtwo'")
    try:
        refused(host, "dirac_migration", "CREATE TABLE diracXtwo.t (i INT)")
    finally:
        host.check_output("mariadb --execute='DROP DATABASE diracXtwo'")


def test_backup_user_can_dump_and_not_write(host: Any) -> None:
    dumped = login(
        host, "backup", "dirac_two", program="mariadb-dump --single-transaction --master-data=2 --routines --events %s"
    )
    assert dumped.rc == 0, dumped.stderr
    assert "MASTER_LOG_POS" in dumped.stdout
    refused(host, "backup", "DELETE FROM dirac_two.t")


def test_exporter_sees_figures_and_no_data(host: Any) -> None:
    assert "Threads_connected" in login(host, "exporter", "SHOW GLOBAL STATUS").stdout
    refused(host, "exporter", "SELECT * FROM dirac_two.t")


def test_settings_given_override_the_role_s(host: Any) -> None:
    said = host.check_output("mariadb -BN --execute='SELECT @@innodb_lock_wait_timeout, @@max_connections'")
    assert said.split() == ["7", "123"]


def test_no_password_is_in_the_binary_log(host: Any) -> None:
    host.check_output("mariadb --execute='CREATE TABLE dirac_two.seen (i INT); DROP TABLE dirac_two.seen'")
    logs = host.check_output("sh -c 'mariadb-binlog --no-defaults /var/lib/mysql/binlog.0*[0-9]'")
    assert "CREATE TABLE dirac_two.seen" in logs
    for word in ("IDENTIFIED", "for the", "global_priv"):
        assert word not in logs
