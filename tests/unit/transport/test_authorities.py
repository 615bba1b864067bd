"""Authorities: whom they make believed, and that files in any state never stop a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from dirac.core.errors import InvalidInputError, UnauthenticatedError
from dirac.formats.x509 import names
from dirac.transport.authorities import LOOK_EVERY, Authorities
from tests.services.authority import Authority

DAY = timedelta(days=1)


class Hours:
    """A clock of both kinds."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds

    def pass_by(self) -> None:
        self.seconds += LOOK_EVERY


@pytest.fixture
def clock() -> Hours:
    return Hours()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def opened(place: Path, clock: Hours) -> Authorities:
    return Authorities(place, now=clock.now, monotonic=clock.monotonic)


def test_a_directory_and_a_file_are_the_same(authority: Authority, clock: Hours) -> None:
    alice, _ = authority.person("alice")
    for place in (authority.directory, authority.ca):
        opened(place, clock).check(alice)


def test_links_by_hash_are_the_same_authority(authority: Authority, clock: Hours) -> None:
    (authority.directory / "0a1b2c3d.0").symlink_to(authority.ca)
    found = opened(authority.directory, clock)
    assert found.certificates() == opened(authority.ca, clock).certificates()


def test_what_holds_no_authority_is_refused(tmp_path: Path, clock: Hours) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        opened(tmp_path / "nowhere", clock)
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    with pytest.raises(InvalidInputError, match="holds no certificate"):
        opened(tmp_path, clock)


def test_one_broken_file_leaves_the_others(authority: Authority, clock: Hours) -> None:
    (authority.directory / "a.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\n\xff")
    (authority.directory / "a.r0").write_bytes(b"rubbish")
    opened(authority.directory, clock).check(authority.person("alice")[0])


def test_files_are_looked_at_now_and_then(authority: Authority, clock: Hours) -> None:
    found = opened(authority.directory, clock)
    alice, _ = authority.person("alice")
    authority.revoke(alice)
    found.refresh()
    found.check(alice)
    clock.pass_by()
    assert found.refresh() == 2
    with pytest.raises(UnauthenticatedError, match="is revoked"):
        found.check(alice)
    clock.pass_by()
    assert found.refresh() == 2


def test_a_directory_that_is_emptied_leaves_what_was_known(authority: Authority, clock: Hours) -> None:
    found = opened(authority.directory, clock)
    alice, _ = authority.person("alice")
    authority.ca.unlink()
    clock.pass_by()
    found.refresh()
    found.check(alice)
    authority.directory.rename(authority.directory.with_name("gone"))
    clock.pass_by()
    found.refresh()
    found.check(alice)


def test_a_list_that_another_authority_signed_says_nothing(authority: Authority, clock: Hours) -> None:
    other = Authority(authority.directory.parent / "other", "Test authority")
    alice, _ = authority.person("alice")
    list_ = other.revoke(alice)
    list_.rename(authority.directory / "other.r0")
    opened(authority.directory, clock).check(alice)


def test_times_count(authority: Authority, clock: Hours) -> None:
    found = opened(authority.directory, clock)
    alice, _ = authority.person("alice", days=5)
    for moment in (clock.time + 6 * DAY, clock.time - 2 * DAY):
        clock.time, before = moment, clock.time
        with pytest.raises(UnauthenticatedError, match="has expired, or is not valid yet"):
            found.check(alice)
        clock.time = before


def issued(
    subject: str, *, ca: bool, signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(signer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return builder.sign(signer[1], hashes.SHA256()), key


def test_an_authority_in_between_may_come_along_and_a_user_is_none(
    authority: Authority, clock: Hours
) -> None:
    found = opened(authority.directory, clock)
    root = names.certificates(authority.ca.read_bytes())[0], authority._key
    between = issued("between", ca=True, signer=root)
    alice, key = issued("alice", ca=False, signer=between)
    found.check(alice, [between[0], root[0]])
    with pytest.raises(UnauthenticatedError, match="not trusted here"):
        found.check(alice)
    eve, _ = issued("eve", ca=False, signer=(alice, key))
    with pytest.raises(UnauthenticatedError, match="not trusted here"):
        found.check(eve, [alice, between[0]])
    stranger = Authority(authority.directory.parent / "stranger", "Test authority").person("alice")[0]
    with pytest.raises(UnauthenticatedError, match="not trusted here"):
        found.check(stranger)


def test_a_long_way_is_too_long(authority: Authority, clock: Hours) -> None:
    found = opened(authority.directory, clock)
    signer = names.certificates(authority.ca.read_bytes())[0], authority._key
    way = []
    for number in range(10):
        signer = issued(f"step {number}", ca=True, signer=signer)
        way.append(signer[0])
    with pytest.raises(UnauthenticatedError, match="too far"):
        found.check(way[-1], way)
