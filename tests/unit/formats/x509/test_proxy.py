"""Proxies: what is one, whose it is, and what nobody gets by making one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError
from dirac.formats.x509 import der, names, proxy
from tests.unit.formats.x509.conftest import HOUR, Grid

# What is changed at random may be what the library warns about, which is no fault of ours.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
ALICE = "/C=ch/O=DIRAC/CN=alice"


def test_a_plain_certificate_is_its_own_subject(grid: Grid) -> None:
    found = proxy.chain([grid.certificate, grid.ca])
    assert (found.subject, found.proxies, found.limited, found.group) == (ALICE, (), False, None)
    assert found.authorities == (grid.ca,)


def test_a_proxy_is_its_user_s_and_carries_the_group(grid: Grid) -> None:
    made = grid.proxy(group="dirac_user")
    found, key = proxy.from_pem(proxy.to_pem(made, grid.keys[0]))
    assert found == made
    assert key.public_key() == made.leaf.public_key()
    assert (found.subject, found.group, found.limited) == (ALICE, "dirac_user", False)
    assert found.steps == (proxy.Step(proxy.Kind.RFC3820, False, None),)
    assert names.extension(made.leaf, proxy.GROUP) == b"\x16\ndirac_user"
    assert found.not_after == grid.now + HOUR


def test_openssl_believes_what_is_made(grid: Grid, tmp_path: Path) -> None:
    second = grid.sign(grid.proxy(group="g"), grid.keys[0], grid.keys[1], limited=True)
    (tmp_path / "leaf.pem").write_bytes(names.to_pem([second.leaf]))
    (tmp_path / "rest.pem").write_bytes(names.to_pem(second.certificates[1:]))
    command = [
        "openssl",
        "verify",
        "-CAfile",
        str(grid.authority.ca),
        "-untrusted",
        str(tmp_path / "rest.pem"),
    ]
    refused = subprocess.run([*command, str(tmp_path / "leaf.pem")], capture_output=True, check=False)
    assert refused.returncode == 2
    told = subprocess.run(
        [*command, "-allow_proxy_certs", str(tmp_path / "leaf.pem")], capture_output=True, check=False
    )
    assert told.returncode == 0, told.stderr
    shown = subprocess.run(
        ["openssl", "x509", "-in", str(tmp_path / "leaf.pem"), "-noout", "-text"],
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert "Proxy Certificate Information: critical" in shown
    assert "Policy Language: 1.3.6.1.4.1.3536.1.1.1.9" in shown


def test_the_name_is_written_as_openssl_writes_it(grid: Grid, tmp_path: Path) -> None:
    parts = [
        ("DC", "org"),
        ("O", "Bürö"),
        ("CN", "robot: a.b.org"),
        ("emailAddress", "a@b.org"),
        ("UID", "x"),
    ]
    oids = {short: oid for oid, short in names._SHORT.items()}
    name = x509.Name([x509.NameAttribute(oids[kind], value) for kind, value in parts])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = (
        builder.public_key(grid.key.public_key()).not_valid_before(grid.now).not_valid_after(grid.now + HOUR)
    )
    file = tmp_path / "one.pem"
    file.write_bytes(names.to_pem([builder.sign(grid.key, proxy.hashes.SHA256())]))
    command = ["openssl", "x509", "-in", str(file), "-noout", "-subject", "-nameopt", "compat"]
    told = subprocess.run(command, capture_output=True, check=True).stdout.decode().strip()
    assert told.removeprefix("subject=").strip() == names.slash_form(name)


def test_a_name_that_reads_as_another_one_is_refused() -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x/CN=alice")])
    with pytest.raises(InvalidInputError, match="ambiguous"):
        names.slash_form(name)


def test_limits_and_the_group_are_inherited(grid: Grid) -> None:
    limited = grid.proxy(limited=True, group="first")
    after = grid.sign(limited, grid.keys[0], grid.keys[1], life=timedelta(days=9))
    assert after.limited
    assert after.group == "first"
    assert after.not_after == limited.not_after
    with pytest.raises(InvalidInputError, match="is for the group 'first'"):
        grid.sign(limited, grid.keys[0], grid.keys[1], group="second")


def test_a_group_that_is_added_later_counts_for_nothing(grid: Grid) -> None:
    first = grid.proxy(group="first")
    forged = grid.sign(first._replace(group=None), grid.keys[0], grid.keys[1], group="admin")
    assert names.extension(forged.leaf, proxy.GROUP) is not None
    assert forged.group == "first"


def test_the_length_of_the_path_holds(grid: Grid) -> None:
    last = grid.proxy(path_length=0)
    with pytest.raises(InvalidInputError, match="1 proxies follow one that allows 0"):
        grid.sign(last, grid.keys[0], grid.keys[1])
    one = grid.proxy(path_length=1)
    assert grid.sign(one, grid.keys[0], grid.keys[1]).subject == ALICE


def test_only_its_signer_s_key_makes_a_proxy(grid: Grid) -> None:
    with pytest.raises(InvalidInputError, match="not signed by the certificate that follows"):
        grid.sign(grid.alice, grid.keys[2], grid.keys[0])


def test_an_expired_proxy_makes_none(grid: Grid) -> None:
    old = grid.proxy()
    with pytest.raises(InvalidInputError, match="has expired at"):
        grid.sign(old, grid.keys[0], grid.keys[1], now=grid.now + 2 * HOUR)


@pytest.mark.parametrize(("cn", "limited"), [("proxy", False), ("limited proxy", True)])
def test_older_proxies_are_understood_and_not_delegated(grid: Grid, cn: str, limited: bool) -> None:
    found = proxy.chain([grid.hand_made(cn), grid.certificate])
    assert (found.subject, found.limited) == (ALICE, limited)
    assert found.steps[0].kind is proxy.Kind.LEGACY
    with pytest.raises(InvalidInputError, match="older kind cannot be delegated"):
        grid.sign(found, grid.keys[0], grid.keys[1])


def _info(language: str) -> x509.Extension[x509.UnrecognizedExtension]:
    content = der.sequence(der.sequence(der.write_oid(language)))
    value = x509.UnrecognizedExtension(proxy.PROXY_CERT_INFO, content)
    return x509.Extension(proxy.PROXY_CERT_INFO, True, value)


def test_what_breaks_a_rule_is_no_proxy(grid: Grid) -> None:
    inherit, independent = _info(proxy.INHERIT_ALL), _info("1.3.6.1.5.5.7.21.2")
    with pytest.raises(InvalidInputError, match=r"with the policy 1\.3\.6\.1\.5\.5\.7\.21\.2"):
        proxy.chain([grid.hand_made("1", extensions=(independent,)), grid.certificate])
    with pytest.raises(InvalidInputError, match="one more CN"):
        proxy.chain([grid.hand_made("1", "2", extensions=(inherit,)), grid.certificate])
    with pytest.raises(InvalidInputError, match="one more CN"):
        proxy.chain([grid.hand_made(extensions=(inherit,)), grid.certificate])
    authority = x509.Extension(
        x509.ExtensionOID.BASIC_CONSTRAINTS, True, x509.BasicConstraints(ca=True, path_length=None)
    )
    with pytest.raises(InvalidInputError, match="says that it is an authority"):
        proxy.chain([grid.hand_made("1", extensions=(inherit, authority)), grid.certificate])
    with pytest.raises(InvalidInputError, match="is missing in the chain"):
        proxy.chain(grid.proxy().proxies)
    other, _ = grid.authority.person("alice")
    with pytest.raises(InvalidInputError, match="not signed by"):
        proxy.chain([*grid.proxy().proxies, other])


def test_a_request_has_to_be_signed_with_its_key(grid: Grid) -> None:
    pem = proxy.make_request(grid.keys[0])
    assert proxy.read_request(pem) == grid.keys[0].public_key()
    request = x509.load_pem_x509_csr(pem)
    broken = bytearray(request.public_bytes(proxy.Encoding.DER))
    broken[-1] ^= 1
    text = x509.load_der_x509_csr(bytes(broken)).public_bytes(proxy.Encoding.PEM)
    with pytest.raises(InvalidInputError, match="not signed with its key"):
        proxy.read_request(text)
    weak = proxy.rsa.generate_private_key(65537, 1024)
    with pytest.raises(InvalidInputError, match="too weak"):
        proxy.read_request(proxy.make_request(weak))


def test_a_key_is_read_with_its_password_only(grid: Grid) -> None:
    encrypted = grid.keys[0].private_bytes(
        proxy.Encoding.PEM,
        proxy.PrivateFormat.PKCS8,
        BestAvailableEncryption(b"pw"),
    )
    assert proxy.read_key(encrypted, b"pw").public_key() == grid.keys[0].public_key()
    with pytest.raises(InvalidInputError, match="is encrypted"):
        proxy.read_key(encrypted)
    with pytest.raises(InvalidInputError, match="password is wrong"):
        proxy.read_key(encrypted, b"other")


def test_a_certificate_of_no_version_that_there_is_is_none(grid: Grid) -> None:
    raw = grid.certificate.public_bytes(proxy.Encoding.DER)
    assert b"\xa0\x03\x02\x01\x02" in raw
    with pytest.raises(InvalidInputError, match="no certificate"):
        names.certificate(raw.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x37"))


@pytest.fixture(scope="module")
def good(grid: Grid) -> proxy.Chain:
    return grid.proxy(group="g", path_length=3)


@settings(deadline=None)
@given(data=st.data())
def test_rubbish_gives_typed_errors_only(good: proxy.Chain, data: st.DataObject) -> None:
    """Bytes of a good proxy are changed at random: an answer or `InvalidInputError`, never anything else."""
    raw = bytearray(good.leaf.public_bytes(proxy.Encoding.DER))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = proxy.chain([names.certificate(bytes(raw)), *good.certificates[1:]])
    except InvalidInputError:
        return
    if not found.proxies:
        return  # what does not say any more that it is a proxy is for its authority to know
    # The outer name of the algorithm is signed by nobody; all that is believed is.
    assert found.leaf.tbs_certificate_bytes == good.leaf.tbs_certificate_bytes
    assert found[2:] == good[2:]


READERS = (
    *(names.certificate, names.certificates),
    *(proxy.from_pem, proxy.read_request, proxy.read_key),
)


@settings(deadline=None)
@given(st.sampled_from(READERS), st.binary(max_size=300))
def test_any_bytes_give_typed_errors_only(read: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        read(data)


@given(st.integers(), st.lists(st.integers(0, 2**40), max_size=5), st.binary(max_size=300))
def test_what_is_written_is_read_back(number: int, arcs: list[int], content: bytes) -> None:
    assert der.integer(der.read(der.write_integer(number))) == number
    dotted = ".".join(map(str, (1, 3, *arcs)))
    assert der.oid(der.read(der.write_oid(dotted))) == dotted
    assert der.read(der.write(der.OCTET_STRING, content)).content == content
