from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirac.core.entropy import SystemEntropy
from dirac.core.errors import (
    ConflictError,
    DiracError,
    InvalidInputError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from dirac.transport.http_client import FixedToken, HttpClient, TokenSource
from dirac.transport.retry import BackOff
from tests.unit.client.fakes import SERVER, Fake, LeapingClock, Script, names_in, refused


def http(fake: Fake, clock: LeapingClock | None = None, tokens: TokenSource | None = None) -> HttpClient:
    return HttpClient(
        SERVER, tokens=tokens, clock=clock or LeapingClock(), transport=httpx.MockTransport(fake.handle)
    )


async def test_values_go_out_and_come_in_as_json() -> None:
    fake = Fake({"POST /x": {"1": 2}})
    async with http(fake, tokens=FixedToken("secret")) as client:
        got = await client.call("POST", "/x", dict[int, int], body={3: "ü"}, params={"a": True, "b": None})
    assert got == {1: 2}
    [request] = fake.requests
    assert request.content.decode() == '{"3":"ü"}'
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer secret"
    assert str(request.url) == f"{SERVER}/x?a=true"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_not_now_is_tried_again_when_that_is_safe(status: int) -> None:
    clock = LeapingClock()
    fake = Fake({"GET /x": Script(refused(status), refused(status), [1])})
    async with http(fake, clock) as client:
        assert await client.call("GET", "/x", list[int]) == [1]
    assert len(clock.naps) == 2
    assert clock.naps[1] > clock.naps[0] * 0.9


@pytest.mark.parametrize(
    ("method", "arguments", "tries"),
    [
        ("PATCH", {}, 2),
        ("PUT", {}, 2),
        ("DELETE", {}, 2),
        ("POST", {}, 1),
        ("POST", {"repeatable": True}, 2),
        ("POST", {"headers": {"Idempotency-Key": "k"}}, 2),
        ("GET", {"repeatable": False}, 1),
    ],
)
@pytest.mark.parametrize("fault", [refused(503), httpx.ReadError("gone"), httpx.ReadTimeout("late")])
async def test_only_what_is_safe_to_repeat_is_repeated(
    method: str, arguments: dict[str, Any], tries: int, fault: Any
) -> None:
    fake = Fake({f"{method} /x": Script(fault, [])})
    async with http(fake) as client:
        if tries == 1:
            with pytest.raises(UnavailableError):
                await client.send(method, "/x", **arguments)
        else:
            await client.send(method, "/x", **arguments)
    assert len(fake.requests) == tries


async def test_what_was_never_sent_is_always_safe() -> None:
    fake = Fake({"POST /x": Script(httpx.ConnectError("refused"), [])})
    async with http(fake) as client:
        await client.send("POST", "/x")
    assert len(fake.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500])
async def test_a_final_refusal_is_not_tried_again(status: int) -> None:
    fake = Fake({"GET /x": refused(status)})
    async with http(fake) as client:
        with pytest.raises(DiracError):
            await client.send("GET", "/x")
    assert len(fake.requests) == 1


async def test_retry_after_is_honoured() -> None:
    clock = LeapingClock()
    fake = Fake({"GET /x": Script(refused(429, Retry_After="7"), [])})
    async with http(fake, clock) as client:
        await client.send("GET", "/x")
    assert 7 <= clock.naps[0] < 9


async def test_a_retry_after_beyond_the_deadline_ends_it_at_once() -> None:
    clock = LeapingClock()
    fake = Fake({"GET /x": refused(429, Retry_After="3600")})
    async with http(fake, clock) as client:
        with pytest.raises(TooManyRequestsError):
            await client.send("GET", "/x")
    assert clock.naps == []


@pytest.mark.parametrize("nonsense", ["nan", "-5", "inf", "Wed, 21 Oct 2026 07:28:00 GMT"])
async def test_a_retry_after_of_nonsense_is_ignored(nonsense: str) -> None:
    clock = LeapingClock()
    fake = Fake({"GET /x": Script(refused(503, Retry_After=nonsense), [])})
    async with http(fake, clock) as client:
        await client.send("GET", "/x")
    assert clock.naps[0] <= 0.2


async def test_it_is_given_up_at_the_deadline_with_the_last_error() -> None:
    clock = LeapingClock()
    fake = Fake({"GET /x": httpx.ConnectError("connection refused")})
    async with http(fake, clock).within(100) as client:
        with pytest.raises(UnavailableError, match=r"dirac\.test does not answer.*refused"):
            await client.send("GET", "/x")
    assert 80 < clock.elapsed <= 100
    assert max(clock.naps) <= 10


@given(st.integers(1, 1000), st.none() | st.floats(0, 1e6))
def test_pauses_stay_between_their_bounds(tries: int, asked: float | None) -> None:
    back_off = BackOff(first=0.2, factor=2, longest=10)
    pause = back_off.pause(tries, SystemEntropy(), asked)
    full = min(0.2 * 2 ** min(tries - 1, 30), 10)
    assert (full / 2 if asked is None else asked) <= pause <= full + (asked or 0)


async def test_the_servers_error_comes_back_as_the_same_class() -> None:
    answer = httpx.Response(400, json={"detail": "job is final", "error": "conflict"})
    async with http(Fake({"GET /x": answer})) as client:
        with pytest.raises(ConflictError, match="job is final"):
            await client.send("GET", "/x")


async def test_an_accepted_status_is_no_error() -> None:
    async with http(Fake({"GET /x": refused(404)})) as client:
        assert (await client.send("GET", "/x", accepted=frozenset({404}))).status == 404


async def test_an_answer_of_another_kind_of_server_is_explained() -> None:
    async with http(Fake({"GET /x": httpx.Response(200, text="<html>")})) as client:
        with pytest.raises(UnavailableError, match="address of a DIRAC server"):
            await client.call("GET", "/x", list[int])


async def test_redirections_are_not_followed_with_a_token() -> None:
    fake = Fake({"GET /x": httpx.Response(302, headers={"Location": "http://evil.test/"})})
    async with http(fake, tokens=FixedToken("secret")) as client:
        with pytest.raises(DiracError):
            await client.send("GET", "/x")
    assert len(fake.requests) == 1


class Renewable:
    def __init__(self) -> None:
        self.renewed: list[str] = []

    async def token(self) -> str | None:
        return "new" if self.renewed else "old"

    async def renew(self, refused: str) -> str | None:
        self.renewed.append(refused)
        return "new"


async def test_a_refused_token_is_renewed_once() -> None:
    def route(request: httpx.Request) -> Any:
        return [] if request.headers["authorization"] == "Bearer new" else refused(401)

    tokens = Renewable()
    async with http(Fake({"POST /x": route}), tokens=tokens) as client:
        await client.send("POST", "/x")
    assert tokens.renewed == ["old"]
    async with http(Fake({"POST /x": refused(401)}), tokens=tokens) as client:
        with pytest.raises(UnauthenticatedError):
            await client.send("POST", "/x")


async def test_without_a_token_the_advice_is_to_log_in() -> None:
    async with http(Fake({"GET /x": refused(401)})) as client:
        with pytest.raises(UnauthenticatedError, match="dirac login"):
            await client.send("GET", "/x")


async def test_a_file_goes_up_behind_its_fields_without_a_token(tmp_path: Path) -> None:
    file = tmp_path / "input.tar.gz"
    file.write_bytes(b"0123456789" * 20000)
    fake = Fake({"POST /store": Script(refused(503), httpx.Response(204))})
    heard: list[tuple[int, int]] = []
    async with http(fake, tokens=FixedToken("secret")) as client:
        fields = {"key": "k", "policy": "p"}
        await client.upload(
            "http://objects.test/store", fields, file, progress=lambda *report: heard.append(report)
        )
    request = fake.requests[-1]
    body = request.content
    assert "authorization" not in request.headers
    assert body.index(b'name="key"') < body.index(b'name="policy"') < body.index(b'name="file"')
    assert file.read_bytes() in body
    assert heard[-1] == (200000, 200000)


async def test_a_file_comes_down_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "f"
    heard: list[tuple[int, int]] = []
    fake = Fake({"GET /f": Script(httpx.ReadError("gone"), httpx.Response(200, content=b"x" * 1000))})
    async with http(fake) as client:
        await client.download("/f", target, progress=lambda *report: heard.append(report))
        assert target.read_bytes() == b"x" * 1000
        assert heard[-1] == (1000, 1000)
        fake.routes["GET /f"] = refused(404)
        with pytest.raises(NotFoundError):
            await client.download("/f", target)
    assert names_in(tmp_path) == ["f"]
    assert target.read_bytes() == b"x" * 1000


@pytest.mark.parametrize("address", ["dirac.test", "ftp://dirac.test", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInputError, match="https://"):
        HttpClient(address)


@pytest.mark.parametrize("address", ["http://exa mple", "http://[::1", "http://"])
async def test_a_broken_address_is_an_error_of_ours(address: str) -> None:
    with pytest.raises(DiracError):
        async with HttpClient(address, clock=LeapingClock(), deadline=0) as client:
            await client.send("GET", "/x")


def test_httpx_is_imported_late_and_without_its_command_line() -> None:
    script = (
        "import sys, dirac.client.sync.client, dirac.client.session\n"
        "assert 'httpx' not in sys.modules and 'asyncio' not in sys.modules, sorted(sys.modules)\n"
        "from dirac.transport._httpx import load\n"
        "httpx = load()\n"
        "assert 'httpx._main' not in sys.modules and 'click' not in sys.modules\n"
        "assert load() is httpx and httpx.Client and callable(httpx.main)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.returncode == 0
