# SPDX-License-Identifier: GPL-3.0-or-later
"""A database without any variable: reached from this host only, its users by their own system's account."""

from __future__ import annotations

from typing import Any


def ask(host: Any, statement: str) -> str:
    return str(host.check_output("mariadb --batch --skip-column-names --execute=%s", statement))


def test_server_listens_on_this_host_only(host: Any) -> None:
    assert host.socket("tcp://127.0.0.1:3306").is_listening
    assert not host.socket("tcp://0.0.0.0:3306").is_listening
    assert not host.socket("tcp://:::3306").is_listening


def test_database_compares_bytes(host: Any) -> None:
    said = ask(
        host, "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'dirac'"
    )
    assert said == "utf8mb4_bin"


def test_server_is_set_for_dirac(host: Any) -> None:
    said = dict(line.split("\t") for line in ask(host, "SHOW GLOBAL VARIABLES").splitlines() if "\t" in line)
    assert said.get("transaction_isolation", said.get("tx_isolation")) == "READ-COMMITTED"
    assert "STRICT_ALL_TABLES" in said["sql_mode"]
    assert (said["log_bin"], said["binlog_format"], said["sync_binlog"]) == ("ON", "ROW", "1")
    assert said["log_bin_trust_function_creators"] == "ON"
    assert int(said["binlog_expire_logs_seconds"]) == 7 * 86400
    assert int(said["innodb_buffer_pool_size"]) >= 128 << 20


def test_there_are_no_doors_left_open(host: Any) -> None:
    accounts = ask(host, "SELECT User, Host FROM mysql.global_priv WHERE User IN ('', 'root')").splitlines()
    assert accounts == ["root\tlocalhost"]
    assert "test" not in ask(host, "SHOW DATABASES").splitlines()


def test_user_without_password_is_the_system_s_user(host: Any) -> None:
    assert (
        ask(host, "SELECT JSON_VALUE(Priv, '$.plugin') FROM mysql.global_priv WHERE User = 'dirac'")
        == "unix_socket"
    )
    refused = host.run("mariadb --user=dirac --execute='SELECT 1'")  # we are root
    assert refused.rc == 1
    assert "Access denied" in refused.stderr
