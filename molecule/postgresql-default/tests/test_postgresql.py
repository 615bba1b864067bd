# SPDX-License-Identifier: GPL-3.0-or-later
"""A database without any variable: reached from this host only, its users by their own system's account."""

from __future__ import annotations

from typing import Any


def ask(host: Any, statement: str) -> str:
    return str(host.check_output("runuser -u postgres -- psql -XqAt -d dirac -c %s", statement))


def test_server_listens_on_this_host_only(host: Any) -> None:
    assert host.socket("tcp://127.0.0.1:5432").is_listening
    assert not host.socket("tcp://0.0.0.0:5432").is_listening


def test_database_is_the_migration_s_and_compares_bytes(host: Any) -> None:
    said = ask(
        host,
        "SELECT pg_encoding_to_char(encoding), datcollate, pg_get_userbyid(datdba) FROM pg_database"
        " WHERE datname = 'dirac'",
    )
    assert said == "UTF8|C|dirac_migration"


def test_server_is_set_for_dirac(host: Any) -> None:
    names = ("wal_level", "archive_mode", "password_encryption", "default_transaction_isolation", "ssl")
    said = [ask(host, f"SHOW {name}") for name in names]
    assert said == ["replica", "on", "scram-sha-256", "read committed", "off"]
    assert ask(host, "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"


def test_log_is_archived(host: Any) -> None:
    log = ask(
        host,
        "CREATE TEMP TABLE t AS SELECT 1; SELECT txid_current(); SELECT pg_walfile_name(pg_switch_wal())",
    )
    name = log.splitlines()[-1]
    host.check_output(
        "cd /var/lib/postgresql/archive; "
        f"for i in $(seq 50); do test -f {name}.zst && exit 0; sleep 0.2; done; exit 1"
    )


def test_others_of_this_host_stay_outside(host: Any) -> None:
    answer = host.run("runuser -u nobody -- psql -XqAt -U dirac -d dirac -c 'SELECT 1'")
    assert answer.rc == 2
    assert "Peer authentication failed" in answer.stderr
