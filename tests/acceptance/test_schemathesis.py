"""The server keeps what its own description promises, whatever it is sent and whoever sends it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from dirac.server.settings import Settings, load
from tests.acceptance.fuzzing import Fuzzer, chosen_seed
from tests.acceptance.installation import Installation
from tests.acceptance.served import serving
from tests.acceptance.tokens import mint_all

JDL = 'Executable = "/bin/true"; Tags = {"Nowhere"};'


def fuzz(settings: Settings, *, examples: int, seconds: float) -> None:
    """Fuzz a server as everybody, with a few jobs there to be aimed at."""
    url, number, tokens = settings.http.url, chosen_seed(), mint_all(settings)
    made = httpx.post(
        f"{url}/api/jobs/jdl", json=[JDL] * 3, headers={"Authorization": f"Bearer {tokens['user']}"}
    )
    assert made.status_code == 201, made.text
    fuzzer = Fuzzer(url, {"nobody": None, **tokens}, [job["JobID"] for job in made.json()])
    fuzzer.run(number, examples=examples, seconds=seconds)
    print(f"{fuzzer.requests} requests, answers: {dict(sorted(fuzzer.statuses.items()))}")
    assert not fuzzer.faults, "\n\n".join(
        f"{operation}: {title}\n{text}" for (operation, title), text in sorted(fuzzer.faults.items())
    )
    assert {200, 204, 400, 401, 403, 404, 422} <= fuzzer.statuses.keys(), "it got beyond the front door"


def test_nothing_surprises_an_installation(installation: Installation) -> None:
    fuzz(load(installation.settings_file), examples=4, seconds=25)


@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_engines_that_refuse_more_are_not_surprised_either(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue(f"{engine}_server")
    url = server.create_database()
    with serving(tmp_path, url) as settings:
        fuzz(settings, examples=2, seconds=8)
    server.drop_database(url)
