"""A password of the database that is replaced while connections are in use."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from dirac.core.errors import UnavailableError
from dirac.db.engine import Database
from dirac.server.database import open_database
from dirac.server.settings import load


@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
async def test_new_connections_log_in_with_the_new_password(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue(f"{engine}_server")
    owner = server.create_database()
    user = make_url(server.create_user(owner))
    file = tmp_path / "database.url"
    file.write_text(user.render_as_string(hide_password=False))
    file.chmod(0o600)
    (tmp_path / "dirac.toml").write_text('[database]\nurl = {file = "database.url"}\n')
    database = open_database(load(tmp_path / "dirac.toml"))
    admin = Database(owner)
    try:
        async with database.read() as tx:
            await tx.ping()
        changed = {
            "mariadb": f"ALTER USER {user.username}@'127.0.0.1' IDENTIFIED BY 'another'",
            "postgresql": f"ALTER ROLE {user.username} PASSWORD 'another'",
        }[engine]
        async with admin.engine.begin() as connection:
            await connection.execute(text(changed))
        await database.engine.dispose()  # connections end one day
        with pytest.raises(UnavailableError):
            async with database.connect():
                pass
        file.write_text(user.set(password="another").render_as_string(hide_password=False))
        async with database.read() as tx:
            await tx.ping()
    finally:
        await database.close()
        await admin.close()
