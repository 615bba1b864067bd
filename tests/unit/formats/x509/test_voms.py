"""Attributes of VOMS: whose they are, who says so, and for how long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError
from dirac.formats.x509 import der, proxy, voms
from tests.unit.formats.x509.conftest import HOUR, Grid

# What is changed at random may be what the library warns about, which is no fault of ours.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
SERVER = "/C=ch/O=DIRAC/CN=voms.example.org"
LSC = voms.lsc_chains(f"{SERVER}\n/CN=Test authority\n")
FQANS = ("/bio/Role=NULL/Capability=NULL", "/bio/prod/Role=boss/Capability=NULL", "/bio/Role=NULL")


@pytest.fixture(scope="module")
def server(grid: Grid) -> Any:
    return grid.authority.person("voms.example.org")


def attributes(grid: Grid, server: Any, **changes: Any) -> bytes:
    given = {
        "holder": grid.certificate,
        "signers": [server[0]],
        "key": server[1],
        "vo": "bio",
        "server": "voms.example.org:15000",
        "fqans": FQANS,
        "serial": 7,
        "not_before": grid.now - HOUR,
        "not_after": grid.now + HOUR,
        **changes,
    }
    holder, signers, key = given.pop("holder"), given.pop("signers"), given.pop("key")
    return voms.make(holder, signers, key, **given)


def read(grid: Grid, content: bytes) -> tuple[voms.Attributes, proxy.Chain]:
    made = grid.proxy(attributes=content)
    (found,) = voms.read(made)
    return found, made


def test_attributes_are_read_and_believed(grid: Grid, server: Any) -> None:
    found, made = read(grid, attributes(grid, server))
    assert (found.vo, found.server, found.fqans) == ("bio", "voms.example.org:15000", FQANS)
    assert found.groups == ("/bio", "/bio/prod/Role=boss")
    voms.verify(found, made, LSC, grid.now)


def test_they_stay_with_the_proxies_that_follow(grid: Grid, server: Any) -> None:
    made = grid.sign(grid.proxy(attributes=attributes(grid, server)), grid.keys[0], grid.keys[1])
    (found,) = voms.read(made)
    voms.verify(found, made, LSC, grid.now)


def test_a_proxy_without_has_none(grid: Grid) -> None:
    assert voms.read(grid.proxy()) == []


def test_those_of_another_person_are_refused(grid: Grid, server: Any) -> None:
    bob, _ = grid.authority.person("alice")  # the same name, another certificate
    found, made = read(grid, attributes(grid, server, holder=bob))
    with pytest.raises(InvalidInputError, match="those of another certificate"):
        voms.verify(found, made, LSC, grid.now)


def test_they_end(grid: Grid, server: Any) -> None:
    found, made = read(grid, attributes(grid, server))
    for moment in (grid.now + HOUR, grid.now - HOUR - timedelta(seconds=1)):
        with pytest.raises(InvalidInputError, match="are good from"):
            voms.verify(found, made, LSC, moment)


def test_only_the_servers_of_the_vomsdir_speak_for_the_vo(grid: Grid, server: Any) -> None:
    found, made = read(grid, attributes(grid, server))
    wrong = (
        "",
        SERVER,  # without its issuer
        "/C=ch/O=DIRAC/CN=other\n/CN=Test authority",
        f"{SERVER}\n/CN=Another authority",
    )
    for content in wrong:
        with pytest.raises(InvalidInputError, match="is no server of the VO 'bio' here"):
            voms.verify(found, made, voms.lsc_chains(content), grid.now)
    several = voms.lsc_chains(f"{wrong[2]}\n------ NEXT CHAIN ------\n{SERVER}\n/CN=Test authority\n")
    voms.verify(found, made, several, grid.now)


def test_the_signature_has_to_be_the_server_s(grid: Grid, server: Any) -> None:
    _, other = grid.authority.person("voms.example.org")
    found, made = read(grid, attributes(grid, server, key=other))
    with pytest.raises(InvalidInputError, match="signature of the attributes of VOMS is wrong"):
        voms.verify(found, made, LSC, grid.now)
    found, made = read(grid, attributes(grid, server, key=rsa.generate_private_key(65537, 2048)))
    with pytest.raises(InvalidInputError, match=r"signed with 1\.2\.840\.113549\.1\.1\.11, which is not"):
        voms.verify(found, made, LSC, grid.now)


def test_another_fqan_than_the_signed_one_is_noticed(grid: Grid, server: Any) -> None:
    content = attributes(grid, server).replace(b"/bio/prod/Role=boss", b"/bio/prod/Role=lord")
    found, made = read(grid, content)
    assert "/bio/prod/Role=lord" in found.groups
    with pytest.raises(InvalidInputError, match="signature of the attributes of VOMS is wrong"):
        voms.verify(found, made, LSC, grid.now)


@pytest.mark.parametrize("fqans", [["/bio", "/astro"], ["/biology"], ["bio"], ["/bio\n"], []])
def test_fqans_are_those_of_the_vo(grid: Grid, server: Any, fqans: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="FQAN"):
        read(grid, attributes(grid, server, fqans=fqans))


def test_lists_without_a_list_around_are_read_as_well(grid: Grid, server: Any) -> None:
    content = attributes(grid, server)
    inner = der.read(content).children()[0].raw
    assert read(grid, inner)[0] == read(grid, content)[0]


@pytest.fixture(scope="module")
def good(grid: Grid, server: Any) -> bytes:
    return attributes(grid, server)


@pytest.fixture(scope="module")
def bearer(grid: Grid, good: bytes) -> proxy.Chain:
    return grid.proxy(attributes=good)


@settings(deadline=None)
@given(data=st.data())
def test_no_changed_attribute_is_believed(
    grid: Grid, good: bytes, bearer: proxy.Chain, data: st.DataObject
) -> None:
    raw = bytearray(good)
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[place]))
    # Signing a proxy for each would take long; where the attributes are does not matter to their reader.
    try:
        found = parsed(bytes(raw))
        for one in found:
            voms.verify(one, bearer, LSC, grid.now)
    except InvalidInputError:
        return
    # Only what nobody signs may differ: the certificate that the server's name and key come from is signed.
    assert [(one.fqans, one.holder, one.signed) for one in found] == [
        (one.fqans, one.holder, one.signed) for one in voms.read(bearer)
    ]


def parsed(content: bytes) -> list[voms.Attributes]:
    return [voms._attributes(each) for one in der.read(content).children() for each in voms._unwrapped(one)]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_gives_typed_errors_only(content: bytes) -> None:
    value = der.sequence(der.sequence(der.sequence(content)))
    with pytest.raises(InvalidInputError):
        parsed(value)


def test_names_of_a_file_are_read_with_comments_and_chains() -> None:
    text = "# of the server\n/CN=a\n/CN=b\n\n------ NEXT CHAIN ------\n/CN=c\n/CN=d\n"
    assert voms.lsc_chains(text) == [("/CN=a", "/CN=b"), ("/CN=c", "/CN=d")]
