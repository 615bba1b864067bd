from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from dirac.client import AsyncClient, _generate
from dirac.client.sync.client import Client
from tests.unit.client.fakes import SERVER, Fake

TARGETS = _generate.targets()


@pytest.mark.parametrize("target", TARGETS, ids=lambda path: path.name)
def test_the_blocking_client_is_what_the_generator_makes(target: Path) -> None:
    assert target.read_text("utf-8") == _generate.generate(TARGETS[target]), (
        "run: python -m dirac.client._generate"
    )


def test_no_generated_file_is_without_a_source() -> None:
    files = set((Path(_generate.__file__).parent / "sync").glob("*.py"))
    assert files <= set(TARGETS)


async def test_both_clients_have_the_same_calls() -> None:
    fake = Fake({})
    one, other = fake.client(), fake.blocking()
    for name in ("auth", "jobs", "sandboxes", "pilots", "proxies", "config", "tasks"):
        calls = {n for n, _ in inspect.getmembers(getattr(one, name), callable) if not n.startswith("_")}
        assert calls == {
            n for n, _ in inspect.getmembers(getattr(other, name), callable) if not n.startswith("_")
        }
        for call in calls:
            function = getattr(getattr(other, name), call)
            assert not inspect.iscoroutinefunction(function)
            assert not inspect.isasyncgenfunction(function)
            text = inspect.getdoc(function) or ""
            assert "Example::" in text or "see `" in text.lower(), f"{name}.{call} shows no example"
            assert "await" not in text
    other.close()
    await one.aclose()


def test_the_blocking_client_works() -> None:
    fake = Fake({"GET /api/jobs/42/jdl": {"JobID": 42, "jdl": "x"}, "POST /api/jobs/search": [{"JobID": 1}]})
    with fake.blocking() as client:
        assert client.jobs.jdl(42) == "x"
        assert list(client.jobs.iterate()) == [{"JobID": 1}]
        assert client.server == SERVER
    assert fake.requests[0].headers["authorization"] == "Bearer token"


def test_the_package_exports_both() -> None:
    assert AsyncClient.__name__ == "AsyncClient"
    assert Client.__module__ == "dirac.client.sync.client"
    with pytest.raises(ImportError):
        from dirac.client import Nothing  # noqa: F401
