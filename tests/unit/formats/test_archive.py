from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats.archive import pack, pack_members, unpack, zstd

_part = st.text("abcXYZ019._- é", min_size=1, max_size=8).filter(lambda text: text not in (".", ".."))
_trees = st.dictionaries(
    st.lists(_part, min_size=1, max_size=3).map("/".join), st.binary(max_size=300), min_size=1, max_size=6
).filter(lambda tree: not any(other.startswith(name + "/") for name in tree for other in tree))


def write(directory: Path, tree: dict[str, bytes]) -> list[Path]:
    for name, content in tree.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [directory / name for name in tree]


def read(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@settings(max_examples=50, deadline=None)
@given(_trees)
def test_what_was_packed_is_unpacked(tree: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        pack(write(root / "in", tree), root / "a.tar.gz", base=root / "in")
        files = unpack(root / "a.tar.gz", root / "out")
        assert files == sorted(files)
        assert read(root / "out") == tree


def test_equal_content_is_an_equal_archive(tmp_path: Path) -> None:
    digests = set()
    for number, order in enumerate([("a", "b/c"), ("b/c", "a")]):
        base = tmp_path / str(number)
        write(base, {name: name.encode() for name in order})
        os.utime(base / "a", (number, number))
        pack([base / name for name in order], tmp_path / f"{number}.tar.gz", base=base)
        digests.add(hashlib.sha256((tmp_path / f"{number}.tar.gz").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_right_to_execute_counts_and_travels(tmp_path: Path) -> None:
    [script] = write(tmp_path / "in", {"run.sh": b"#!/bin/sh\n"})
    pack([script], tmp_path / "plain.tar.gz", base=script.parent)
    script.chmod(0o755)
    pack([script], tmp_path / "x.tar.gz", base=script.parent)
    assert (tmp_path / "plain.tar.gz").read_bytes() != (tmp_path / "x.tar.gz").read_bytes()
    [unpacked] = unpack(tmp_path / "x.tar.gz", tmp_path / "out")
    assert unpacked.stat().st_mode & 0o777 == 0o755


def test_links_are_followed_when_packing(tmp_path: Path) -> None:
    write(tmp_path, {"real": b"content"})
    (tmp_path / "link").symlink_to("real")
    pack_members({"x": tmp_path / "link"}, tmp_path / "a.tar.gz")
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "out")[0].read_bytes() == b"content"


@pytest.mark.parametrize("fault", ["missing", "directory", "elsewhere"])
def test_what_cannot_be_packed_is_named(tmp_path: Path, fault: str) -> None:
    (tmp_path / "base" / "directory").mkdir(parents=True)
    path = Path("/etc/passwd") if fault == "elsewhere" else tmp_path / "base" / fault
    with pytest.raises(InvalidInputError, match=path.name):
        pack([path], tmp_path / "a.tar.gz", base=tmp_path / "base")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, zstd.compress, bytes])
def test_the_compression_is_known_by_content(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / "sandbox").write_bytes(compress(tar((member("f"), b"x"))))
    assert [path.name for path in unpack(tmp_path / "sandbox", tmp_path / "out")] == ["f"]


HOSTILE = {
    "parent": member("../evil"),
    "deep parent": member("a/../../evil"),
    "harmless parent": member("a/../evil"),
    "absolute": member("/tmp/evil"),
    "symlink out": member("link", tarfile.SYMTYPE, "../evil"),
    "symlink absolute": member("link", tarfile.SYMTYPE, "/etc/passwd"),
    "symlink to nothing": member("link", tarfile.SYMTYPE, "nothing"),
    "symlink to directory": member("link", tarfile.SYMTYPE, "."),
    "hard link out": member("link", tarfile.LNKTYPE, "../evil"),
    "hard link absolute": member("link", tarfile.LNKTYPE, "/etc/passwd"),
    "character device": member("null", tarfile.CHRTYPE),
    "block device": member("disk", tarfile.BLKTYPE),
    "pipe": member("pipe", tarfile.FIFOTYPE),
    "long name": member("x" * 5000),
    "file instead of the directory": member("."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_is_refused_by_name_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    info = HOSTILE[name]
    (tmp_path / "a.tar").write_bytes(tar((member("good"), b"x"), (info, b"")))
    with pytest.raises(InvalidInputError) as caught:
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert info.name.strip("./")[:20] in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "out"]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_link_that_was_written_through_is_refused(tmp_path: Path) -> None:
    content = tar((member("d", tarfile.SYMTYPE, ".."), b""), (member("d/evil"), b"x"))
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InvalidInputError):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_a_link_inside_becomes_a_copy(tmp_path: Path) -> None:
    members = (member("d/f"), b"x"), (member("d/s", tarfile.SYMTYPE, "f"), b"")
    (tmp_path / "a.tar").write_bytes(tar(*members, (member("h", tarfile.LNKTYPE, "d/f"), b"")))
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert read(tmp_path / "out") == {"d/f": b"x", "d/s": b"x", "h": b"x"}
    assert not (tmp_path / "out/d/s").is_symlink()


def test_a_link_that_is_already_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/d").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a.tar").write_bytes(tar((member("d/f"), b"x")))
    with pytest.raises(InvalidInputError, match="link"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    # A link in the place of the file itself is replaced, what it leads to stays.
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "out/f").symlink_to(tmp_path / "secret")
    (tmp_path / "a.tar").write_bytes(tar((member("f"), b"x")))
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "secret").read_text() == "secret"
    assert (tmp_path / "out/f").read_bytes() == b"x"


def test_bombs_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(gzip.compress(tar((member("zeros"), bytes(1 << 20)))))
    with pytest.raises(TooLargeError, match="zeros"):
        unpack(archive, tmp_path / "out", max_bytes=1 << 16)
    archive.write_bytes(gzip.compress(tar(*((member(f"f{n}"), b"") for n in range(50)))))
    with pytest.raises(TooLargeError, match="49 members"):
        unpack(archive, tmp_path / "out", max_members=49)
    assert len(unpack(archive, tmp_path / "out", max_members=50)) == 50
    links = [(member(f"l{n}", tarfile.LNKTYPE, "f"), b"") for n in range(10)]
    archive.write_bytes(gzip.compress(tar((member("f"), bytes(1 << 15)), *links)))
    with pytest.raises(TooLargeError):
        unpack(archive, tmp_path / "out2", max_bytes=1 << 16)
    assert list((tmp_path / "out2").iterdir()) == []


def test_a_header_of_unreasonable_size_is_not_read(tmp_path: Path) -> None:
    info = member("x")
    info.pax_headers = {"comment": "x" * (2 << 20)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(buffer.getvalue()))
    with pytest.raises(InvalidInputError, match="header"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_an_error_and_never_anything_else(data: st.DataObject) -> None:
    compress = data.draw(st.sampled_from([gzip.compress, bz2.compress, zstd.compress, bytes]))
    good = compress(tar((member("d/f"), b"content" * 50), (member("g"), b"")))
    bad = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 4)) if bad else 0):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "a").write_bytes(bad)
        try:
            files = unpack(root / "a", root / "out", max_bytes=1 << 16, max_members=10)
        except InvalidInputError:
            assert list((root / "out").iterdir()) == []
        else:
            assert all(path.is_relative_to(root / "out") for path in files)
        assert sorted(path.name for path in root.iterdir()) == ["a", "out"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "..", ".", "", "x" * 300]), max_size=4).map("/".join),
            st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
            st.lists(st.sampled_from(["a", "b", "..", "", "tmp"]), max_size=4).map("/".join),
        ),
        max_size=6,
    )
)
def test_whatever_the_names_nothing_appears_outside(members: list[tuple[str, bytes, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "a").write_bytes(tar(*((member(*one), b"") for one in members)))
        try:
            files = unpack(root / "a", root / "in/out")
        except InvalidInputError:
            assert list((root / "in/out").iterdir()) == []
        else:
            assert all(not path.is_symlink() and path.is_file() for path in files)
        assert sorted(path.name for path in root.iterdir()) == ["a", "in"]
        assert [path.name for path in (root / "in").iterdir()] == ["out"]
        assert not [path for path in root.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE])
def test_a_chain_of_headers_without_a_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    text = b"12 path=abc\n" if kind == tarfile.XHDTYPE else b"abc\0"
    header = member("long", kind)
    header.size = len(text)
    content = (header.tobuf() + text.ljust(512, b"\0")) * 5000 + member("f").tobuf() + bytes(1024)
    (tmp_path / "a").write_bytes(gzip.compress(content))
    with pytest.raises(InvalidInputError, match="damaged"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_file_of_holes_counts_with_its_holes(tmp_path: Path) -> None:
    header = bytearray(member("holes", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[386:398] = header[398:410] = b"%011o\0" % 0  # no data at all,
    header[483:495] = b"%011o\0" % (8 << 30)  # of 8 GiB
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(TooLargeError, match="holes"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_an_archive_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    wide = zstd.CompressionParameter
    options = {wide.window_log: 28, wide.enable_long_distance_matching: 1}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(tar((member("f"), b"x"))) + packer.flush()
    (tmp_path / "a").write_bytes(packed)
    with pytest.raises(InvalidInputError, match="archive"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_what_is_left_of_a_directory_and_of_owners_is_their_files(tmp_path: Path) -> None:
    directory = member("d", tarfile.DIRTYPE)
    file = member("d/f")
    file.uid = file.gid = 4242
    file.mode = 0o6755
    (tmp_path / "a").write_bytes(zstd.compress(tar((directory, b""), (file, b"x"))))
    [unpacked] = unpack(tmp_path / "a", tmp_path / "out")
    assert unpacked.stat().st_mode & 0o7777 == 0o755
    assert unpacked.stat().st_uid == os.getuid()


def test_a_text_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("not found")
    with pytest.raises(InvalidInputError, match="no archive"):
        unpack(tmp_path / "a", tmp_path / "out")
