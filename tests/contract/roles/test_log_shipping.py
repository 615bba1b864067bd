"""What the role log_shipping gives syslog-ng: names of files that stay, and lines with their fields."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.loading import load

follow = load("roles/log_shipping/files/follow.py")


@pytest.fixture
def links(tmp_path: Path) -> follow.Links:
    """Links to the logs of a service that has written a line."""
    service, place = tmp_path / "logs/one", tmp_path / "logs/.shipping"
    service.mkdir(parents=True)
    place.mkdir()
    (service / "current").write_text("first\n")
    return follow.Links(tmp_path / "logs", place)


def contents(tmp_path: Path) -> list[str]:
    return sorted(path.read_text() for path in (tmp_path / "logs/.shipping").iterdir())


def rotate(tmp_path: Path, text: str, name: str) -> None:
    """Do as svlogd does: the file gets another name, and a new one is begun."""
    service = tmp_path / "logs/one"
    (service / "current").rename(service / name)
    (service / "current").write_text(text)


def test_a_file_keeps_its_name_through_rotations(tmp_path: Path, links: follow.Links) -> None:
    links.add()
    (before,) = (tmp_path / "logs/.shipping").iterdir()
    with (tmp_path / "logs/one/current").open("a") as file:
        file.write("last\n")
        rotate(tmp_path, "second\n", "@1.s")
        file.write("written late\n")
    rotate(tmp_path, "third\n", "@2.u")
    links.add()
    links.add()
    assert before.read_text() == "first\nlast\nwritten late\n"
    assert contents(tmp_path) == ["first\nlast\nwritten late\n", "second\n", "third\n"]


def test_a_removed_file_stays_for_some_time(
    tmp_path: Path,
    links: follow.Links,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links.add()
    (tmp_path / "logs/one/current").unlink()
    links.release()
    assert contents(tmp_path) == ["first\n"]
    monkeypatch.setattr(follow, "KEEP", -1.0)
    links.release()
    assert contents(tmp_path) == []


def test_links_are_known_again_after_a_restart(tmp_path: Path, links: follow.Links) -> None:
    links.add()
    again = follow.Links(tmp_path / "logs", tmp_path / "logs/.shipping")
    again.add()
    assert contents(tmp_path) == ["first\n"]
    assert (tmp_path / "logs/one/current").stat().st_nlink == 2


def test_other_files_are_left_alone(tmp_path: Path, links: follow.Links) -> None:
    for name in ("config", "lock", "@3.t"):
        (tmp_path / "logs/one" / name).write_text(name)
    (tmp_path / "logs/stray").write_text("no directory of a service")
    links.add()
    assert contents(tmp_path) == ["first\n"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"message": "m", "job": 7, "tags": ["a", 1]}', {"message": "m", "job": 7, "tags": ["a", 1]}),
        ('{"a.b": 1.5, "none": null}', {"a.b": 1.5, "none": None}),
        ("plain text ", {"message": "plain text"}),
        ('{"cut": ', {"message": '{"cut":'}),
        ("[1, 2]", {"message": "[1, 2]"}),
        ('{"n": NaN}', {"message": '{"n": NaN}'}),
        ("[" * 100_000, {"message": "[" * 100_000}),
    ],
)
def test_a_line_is_what_its_service_said(
    line: str, expected: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "syslogng", SimpleNamespace(LogSource=object))
    lines = load("roles/log_shipping/files/dirac_lines.py")
    assert lines.document(line) == expected
