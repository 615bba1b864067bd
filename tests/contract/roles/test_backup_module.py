"""The module dirac_server_backup: consistent copies, and no restore that could lose anything."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.loading import load

module = load("roles/dirac_server/library/dirac_server_backup.py")


def _rows(database: Path) -> list[int]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM jobs ORDER BY number")]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory of a server."""
    place = tmp_path / "server"
    (place / "secrets").mkdir(parents=True)
    (place / "secrets/master.key").write_text("key")
    (place / "secrets/master.key").chmod(0o600)
    (place / "dirac.toml").write_text("[http]\n")
    (place / "sandboxes/ab").mkdir(parents=True)
    (place / "sandboxes/ab/sha256:1.tar.gz").write_text("sandbox")
    (place / "sandboxes/.incoming").mkdir()
    (place / "sandboxes/.incoming/half").write_text("hal")
    with contextlib.closing(sqlite3.connect(place / "dirac.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE jobs (number INTEGER)")
        connection.execute("INSERT INTO jobs VALUES (1)")
        connection.commit()
    return place


def test_backup_of_a_database_in_use_has_what_was_committed(state: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(state / "dirac.db")) as writer:
        writer.execute("INSERT INTO jobs VALUES (2)")
        writer.commit()  # is in the write-ahead log only
        writer.execute("INSERT INTO jobs VALUES (3)")  # is not committed
        made = module.backup(state, tmp_path / "backups")
    assert _rows(made / "dirac.db") == [1, 2]


def test_backup_is_complete_and_for_its_owner(state: Path, tmp_path: Path) -> None:
    made = module.backup(state, tmp_path / "backups")
    module.validate(made)
    assert set(json.loads((made / "backup.json").read_text())["files"]) == {
        "dirac.db",
        "dirac.toml",
        "sandboxes/ab/sha256:1.tar.gz",
        "secrets/master.key",
    }
    assert made.stat().st_mode & 0o777 == 0o700
    assert (made / "secrets/master.key").stat().st_mode & 0o777 == 0o600


def test_backup_without_a_database_makes_nothing(state: Path, tmp_path: Path) -> None:
    (state / "dirac.db").unlink()
    with pytest.raises(module.RefusedError, match="own tools"):
        module.backup(state, tmp_path / "backups")
    assert not (tmp_path / "backups").exists()


def test_backup_that_fails_leaves_nothing(state: Path, tmp_path: Path) -> None:
    shutil.rmtree(state / "secrets")
    with pytest.raises(OSError, match="secrets"):
        module.backup(state, tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == []


def test_backups_stand_side_by_side(state: Path, tmp_path: Path) -> None:
    made = {module.backup(state, tmp_path / "backups") for _ in range(3)}
    assert len(made) == 3


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "no note", "other format", "no backup"])
def test_damaged_backup_is_refused(state: Path, tmp_path: Path, damage: str) -> None:
    made = module.backup(state, tmp_path / "backups")
    match damage:
        case "changed":
            (made / "sandboxes/ab/sha256:1.tar.gz").write_text("sandbix")
        case "missing":
            (made / "secrets/master.key").unlink()
        case "added":
            (made / "secrets/other").write_text("")
        case "no note":
            (made / "backup.json").unlink()
        case "other format":
            note = json.loads((made / "backup.json").read_text())
            (made / "backup.json").write_text(json.dumps(note | {"format": 99}))
        case _:
            (made / "backup.json").write_text("not JSON")
    target = tmp_path / "new/server"
    with pytest.raises(module.RefusedError):
        module.restore(target, made, force=True)
    assert not target.exists()


def test_restore_into_a_new_place(state: Path, tmp_path: Path) -> None:
    made = module.backup(state, tmp_path / "backups")
    target = tmp_path / "new/server"
    target.parent.mkdir()
    assert module.restore(target, made, force=False) == ""
    assert _rows(target / "dirac.db") == [1]
    assert (target / "sandboxes/ab/sha256:1.tar.gz").read_text() == "sandbox"
    assert target.stat().st_mode & 0o777 == 0o700
    module.validate(made)


def test_restore_over_a_state_needs_to_be_told_and_keeps_it(state: Path, tmp_path: Path) -> None:
    made = module.backup(state, tmp_path / "backups")
    with contextlib.closing(sqlite3.connect(state / "dirac.db")) as connection:
        connection.execute("INSERT INTO jobs VALUES (2)")
        connection.commit()
    with pytest.raises(module.RefusedError, match="already"):
        module.restore(state, made, force=False)
    assert _rows(state / "dirac.db") == [1, 2]
    aside = module.restore(state, made, force=True)
    assert _rows(state / "dirac.db") == [1]
    assert _rows(Path(aside) / "dirac.db") == [1, 2]


def test_restore_under_a_running_server_is_refused(state: Path, tmp_path: Path) -> None:
    made = module.backup(state, tmp_path / "backups")
    with (state / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(module.RefusedError, match="runs"):
            module.restore(state, made, force=True)
    module.restore(state, made, force=True)


@pytest.mark.parametrize("operation", [1, 2])
def test_restore_that_fails_leaves_the_old_state(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: int
) -> None:
    made = module.backup(state, tmp_path / "backups")
    left = operation
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="No space"):
        module.restore(state, made, force=True)
    assert _rows(state / "dirac.db") == [1]
    assert {path.name for path in tmp_path.iterdir()} == {"server", "backups"}


def test_second_collection_adds_what_came_and_keeps_what_went(state: Path, tmp_path: Path) -> None:
    """Objects, database, objects: what the database names is in the collection."""
    staging = tmp_path / "staging" / "dirac_server"
    module.collect(state, state / "secrets", staging)
    (state / "sandboxes/ab/sha256:1.tar.gz").unlink()
    (state / "sandboxes/cd").mkdir()
    (state / "sandboxes/cd/sha256:2.tar.gz").write_text("came later")
    module.collect(state, state / "secrets", staging)
    assert (staging / "sandboxes/ab/sha256:1.tar.gz").read_text() == "sandbox"
    assert (staging / "sandboxes/cd/sha256:2.tar.gz").read_text() == "came later"
    assert (staging / "master.key").read_text() == "key"
    assert not (staging / "sandboxes/.incoming").exists()
    assert not (staging / "dirac.toml").exists()


def test_what_is_put_back_replaces_what_is_there(state: Path, tmp_path: Path) -> None:
    staging, other = tmp_path / "staging", tmp_path / "other"
    module.collect(state, state / "secrets", staging)
    (other / "etc/secrets").mkdir(parents=True)
    (other / "etc/secrets/passwords.json").write_text("of another installation")
    (other / "etc/secrets/database.url").write_text("url")
    (other / "lib/sandboxes/ef").mkdir(parents=True)
    (other / "lib/sandboxes/ef/sha256:3.tar.gz").write_text("of another installation")
    module.put_back(other / "lib", other / "etc/secrets", staging, getpass.getuser())
    assert (other / "etc/secrets/master.key").read_text() == "key"
    assert (other / "etc/secrets/master.key").stat().st_mode & 0o777 == 0o600
    assert not (other / "etc/secrets/passwords.json").exists()
    assert (other / "etc/secrets/database.url").read_text() == "url"
    assert [path.name for path in (other / "lib/sandboxes").rglob("*.gz")] == ["sha256:1.tar.gz"]


def test_collection_without_a_master_key_is_refused(state: Path, tmp_path: Path) -> None:
    (state / "secrets/master.key").unlink()
    with pytest.raises(module.RefusedError, match=r"master\.key"):
        module.collect(state, state / "secrets", tmp_path / "staging")
    (tmp_path / "empty").mkdir()
    with pytest.raises(module.RefusedError, match=r"master\.key"):
        module.put_back(state, state / "secrets", tmp_path / "empty", getpass.getuser())
    assert (state / "sandboxes/ab/sha256:1.tar.gz").exists()
