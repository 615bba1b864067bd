"""What is mutated, huge or nested is refused like anything else: no defect, and no more rights than before.

Hypothesis makes the examples, the same ones each time; the real application answers them.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.contract.authorisation.world import ASTRO, BIO, FILES, World
from tests.contract.systems.identity.test_forged import decoded, encoded, examples

ROUTES = ("GET /api/auth/userinfo", "POST /api/jobs/search", "GET /api/pilots/node", "POST /api/config/apply")
_bytes = st.binary(max_size=300).filter(lambda value: not set(value) & set(b"\r\n\0"))
DEEP = 20_000


def headers_of_any_kind(good: str) -> Iterator[bytes]:
    """Yield what may stand in `Authorization`."""
    yield from examples(_bytes, 60)
    for scheme in (b"Bearer ", b"bearer\t", b"Basic ", b"Bearer Bearer ", b"DPoP "):
        yield from (scheme + value for value in examples(_bytes, 25))
    yield from (b"Bearer " + b"a" * 2_000_000, b"Bearer " + b"." * 100_000, b"Bearer ", b"Bearer")
    yield f"Bearer {good}, Bearer {good}".encode()
    yield f"Bearer dirac-node.{'0' * 32}.{'a' * 43}".encode()


def mutated_tokens(good: str) -> Iterator[str]:
    """Yield tokens that are nearly a good one, or are made to hurt whoever reads them."""
    head, payload, signature = good.split(".")
    claims, header = decoded(payload), decoded(head)
    nested = base64.urlsafe_b64encode(b"[" * DEEP + b"]" * DEEP).rstrip(b"=").decode()
    objects = base64.urlsafe_b64encode(b'{"a":' * DEEP + b"1" + b"}" * DEEP).rstrip(b"=").decode()
    yield from (f"{one}.{payload}.{signature}" for one in (nested, objects))
    yield from (f"{head}.{one}.{signature}" for one in (nested, objects))
    for changes in (
        *(
            {"alg": ["EdDSA"]},
            {"crit": ["exp"]},
            {"b64": False, "crit": ["b64"]},
            {"zip": "DEF"},
            {"alg": None},
        ),
        *({"kid": "x" * 100_000}, {"jku": "http://127.0.0.1:1/"}, {"x5c": ["x"]}, {"cty": "JWT"}, {"typ": 3}),
    ):
        yield f"{encoded({**header, **changes})}.{payload}.{signature}"
    for wrong in ({"exp": 10**400}, {"exp": "1e999"}, {"iat": -(10**30)}, {"vo": {"a": 1}}, {"sub": 3}):
        yield f"{head}.{encoded(json.dumps({**claims, **wrong}).encode())}.{signature}"
    cut = st.tuples(st.integers(0, len(good)), st.integers(0, 40), st.text(max_size=8))
    for place, length, text in examples(cut, 150):
        yield good[:place] + text + good[place + length :]
    yield f"{good}.{good}"
    yield encoded(good.encode())


def test_no_header_makes_a_defect_or_opens_a_door(world: World, loop: asyncio.AbstractEventLoop) -> None:
    good = world.tokens["admin"]

    async def answers() -> list[str]:
        found = []
        tokens = (
            f"Bearer {one}".encode("utf-8", "surrogatepass") for one in mutated_tokens(good) if one != good
        )
        for header in (*headers_of_any_kind(good), *tokens):
            for route in ROUTES:
                method, path = route.split()
                answer = await world.http.request(
                    method, path, headers={b"Authorization": header, b"Content-Type": b"application/json"}
                )
                if answer.status_code != 401 or "www-authenticate" not in answer.headers:
                    found.append(f"{route} {header[:200]!r}: {answer.status_code} {answer.text[:200]}")
        return found

    assert loop.run_until_complete(answers()) == []
    assert loop.run_until_complete(world.ask("GET", "/api/auth/userinfo", good)).status_code == 200


def mutated_chains(chain: tuple[bytes, ...], others: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    """Yield chains with bytes changed, cut out or put in, and with certificates in other places."""
    places = st.tuples(
        st.integers(0, len(chain) - 1),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 3),
        st.binary(max_size=4),
    )
    for which, where, length, content in examples(places, 400):
        raw = chain[which]
        place = int(where * len(raw))
        changed = raw[:place] + content + raw[place + length :]
        yield (*chain[:which], changed, *chain[which + 1 :])
    for order in examples(st.lists(st.sampled_from([*chain, *others]), max_size=6), 100):
        yield tuple(order)
    yield from ((chain[0],) * 40, (*chain, *chain), (b"", *chain), (*chain, b"\x30\x84\xff\xff\xff\xff"))


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("which", ["full", "limited", "attributes"])
def test_no_chain_makes_a_defect_or_gets_more(
    world: World, loop: asyncio.AbstractEventLoop, which: str
) -> None:
    good = {
        "full": lambda: world.grid.shown("alice", limited=False),
        "limited": lambda: world.grid.shown("alice", limited=True),
        "attributes": lambda: world.grid.shown("alice", limited=False, vo="astro"),
    }[which]()
    others = (*world.grid.shown("portal"), *world.grid.shown("gone"))

    async def ask(chain: tuple[bytes, ...]) -> tuple[int, Any]:
        world.chains["fuzzed"] = chain
        headers = {"x-chain": "fuzzed"}
        answer = await world.ask("GET", "/api/auth/userinfo", None, headers=headers)
        return answer.status_code, answer.json()

    status, first = loop.run_until_complete(ask(good))
    assert (status, first["sub"]) == (200, "astro:alice")
    # Who has somebody's key is that one: TLS sees to it that it is the first certificate's.
    plain, portal = world.grid.shown("alice"), world.grid.shown("portal")
    owners = {one[0]: loop.run_until_complete(ask(one))[1] for one in (plain, portal)}
    taken = 0
    for chain in mutated_chains(good, others):
        status, found = loop.run_until_complete(ask(chain))
        assert status in (200, 401, 403), (status, found)
        if status == 200:
            taken += 1
            assert found == owners.get(chain[0], first)
    assert taken, "some change nothing that is believed"


CFG = """Registry
{
  DefaultGroup = lhcb_user
  Users { alice { DN = /C=ch/CN=alice  Email = a@b.c } }
  Groups { lhcb_user { Users = alice  Properties = NormalUser  VO = lhcb } }
}
Resources { Sites { LCG { LCG.A.ch { CEs { ce { CEType = HTCondorCE  Queues { q { a = 10 } } } } } } } }
"""
TRICKS = (
    *(
        "&a [*a]",
        "a: &a {b: *a}",
        "!!python/object/apply:os.system [ls]",
        "!!binary x",
        "? [a]\n: b",
        "%YAML 9.9",
    ),
    *("[" * DEEP, "{a: " * 1000, "a: 1\na: 2", "- \t- x", "\ufeffa: b", "a: .inf", "a: 0x" + "f" * 4000),
    *(
        "a: 2026-02-30",
        "<<: {a: b}",
        "virtual_organisations: []",
        "virtual_organisations: {'': {}}",
        "sites: 7",
    ),
    "x: &a [1,1]\n" + "".join(f"x{n}: &x{n} [*a,*a,*a,*a,*a,*a,*a,*a]\n" for n in range(60)),
    "&a0 [" + "".join(f"&a{n} [" for n in range(1, 90)),
)


def mutated_texts(text: str) -> Iterator[str]:
    """Yield texts with pieces changed, taken out, doubled or put in elsewhere."""
    piece = st.tuples(
        *(st.floats(0, 1, exclude_max=True),) * 2,
        st.integers(0, 30),
        st.sampled_from(
            ["", "{", "}", "[", ":", "\t", "\0", "*x", "&x", "!!", "null", "é\u2028", '"', "-", "#", "\n"]
        ),
    )
    for where, whence, length, put in examples(piece, 120):
        place, source = int(where * len(text)), int(whence * len(text))
        yield text[:place] + put + text[source : source + length] + text[place + length :]


@pytest.mark.parametrize("role", ["service", "voadmin"])
def test_no_configuration_makes_a_defect_or_reaches_further(
    world: World, loop: asyncio.AbstractEventLoop, role: str
) -> None:
    async def apply(name: str, text: str) -> None:
        for request in ({"files": {name: text}}, {"text": text}):
            answer = await world.ask(
                "POST", "/api/config/apply", world.tokens[role], {**request, "dry_run": True}
            )
            assert answer.status_code < 500, (text, answer.text)
            if role == "voadmin" and answer.is_success:
                changed = [change["path"] for change in answer.json()["changes"]]
                assert all(path.startswith("virtual_organisations/astro/") for path in changed), text

    for name in (ASTRO, BIO, "installation.yaml"):
        for text in (*mutated_texts(FILES[name]), *TRICKS):
            loop.run_until_complete(apply(name, text))


@pytest.mark.parametrize("form", ["cfg", "diracx"])
def test_no_foreign_configuration_makes_a_defect(
    world: World, loop: asyncio.AbstractEventLoop, form: str
) -> None:
    source = (
        CFG
        if form == "cfg"
        else json.dumps({"Registry": {"lhcb": {"DefaultGroup": "u", "Groups": {"u": {}}}}})
    )
    for text in (*mutated_texts(source), *TRICKS):
        body = {"text": text, "form": form}
        answer = loop.run_until_complete(
            world.ask("POST", "/api/config/import", world.tokens["service"], body)
        )
        assert answer.status_code < 500, (text, answer.text)
