"""What the callback `progress` is made of."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def support() -> Iterator[Any]:
    """The modules of the callback, as Ansible finds them."""
    sys.path.append(str(ROOT / "playbooks"))
    import callback_support.record
    import callback_support.screen
    import callback_support.segments
    import callback_support.times

    yield callback_support
    sys.path.remove(str(ROOT / "playbooks"))


def test_the_share_grows_and_the_rest_shrinks(support: Any) -> None:
    forecast = support.times.Forecast({"a": 10, "b": 30})
    assert forecast.look("a", 5) == (5 / 40, 35)
    forecast.end("a", 10)
    assert forecast.look("b", 15) == (25 / 40, 15)
    # A role that takes longer than ever does not go beyond what it counts.
    assert forecast.look("b", 300) == (0.99, 0)


def test_a_slow_machine_is_noticed(support: Any) -> None:
    forecast = support.times.Forecast({"a": 10, "b": 30})
    forecast.end("a", 20)
    assert forecast.look("b", 0)[1] == 60


def test_where_nothing_is_known_nothing_is_told(support: Any) -> None:
    assert support.times.Forecast({}).look("a", 3) is None


def test_times_are_kept_per_kind_and_site(support: Any, tmp_path: Path) -> None:
    history = support.times.History(tmp_path / "deep/times.json")
    assert history.last("deploy x", "lab") == {}
    history.add("deploy x", "lab", {"a": 1.0})
    history.add("deploy x", "other", {"a": 2.0})
    assert history.last("deploy x", "lab") == {"a": 1.0}
    assert history.last("deploy x", "new") == {"a": 2.0}
    assert history.last("remove x", "lab") == {}
    for number in range(20):
        history.add("deploy x", "lab", {"a": number})
    assert history.last("deploy x", "lab") == {"a": 19}
    assert (tmp_path / "deep/times.json").stat().st_size < 1000


@pytest.mark.parametrize("content", ["", "{", "[]", '{"k": 7}', '{"k": [7]}', '{"k": [{"roles": "x"}]}'])
def test_a_damaged_file_of_times_counts_as_none(support: Any, tmp_path: Path, content: str) -> None:
    path = tmp_path / "times.json"
    path.write_text(content)
    history = support.times.History(path)
    assert history.last("k", "lab") == {}
    history.add("k", "lab", {"a": 1.0})
    assert history.last("k", "lab") == {"a": 1.0}


def test_the_shape_tells_sites_apart_by_their_groups(support: Any) -> None:
    shape = support.times.shape
    assert shape({"a": 1, "b": 0}) == shape({"a": 1})
    assert shape({"a": 1}) != shape({"a": 2})


def test_reports_of_many_hosts_are_joined(support: Any) -> None:
    record = support.record.Record("lab", "deploy")
    record.add("h1", {"addresses": [{"name": "web"}], "facts": {"up": {"h1": 1}, "rows": [1]}})
    record.add(
        "h2", {"addresses": [{"name": "web"}, {"name": "db"}], "facts": {"up": {"h2": 2}, "rows": [1, 2]}}
    )
    record.add("h2", {"checks": [{"check": "dns", "ok": False}]})
    record.add("h2", "nonsense")
    assert record.report["addresses"] == [{"name": "web"}, {"name": "db"}]
    assert record.report["facts"] == {"up": {"h1": 1, "h2": 2}, "rows": [1, 2]}
    assert record.report["checks"] == [{"host": "h2", "check": "dns", "ok": False}]


def test_a_run_is_good_only_if_it_came_to_its_end_without_failure(support: Any) -> None:
    record = support.record.Record("lab", "deploy")
    assert record.document()["ok"] is False
    record.ended = True
    assert record.document()["ok"] is True
    record.failure("h", role="r", task="t", where="f:1", message="m")
    assert record.document()["ok"] is False


def test_the_summary_of_a_failure_promises_nothing(support: Any) -> None:
    record = support.record.Record("lab", "deploy")
    record.add(
        "h", {"addresses": [{"name": "web", "url": "https://x"}], "next": ["dirac login"], "warnings": ["w"]}
    )
    record.add("h", {"jobs": [{"vo": "astro", "user": "alice", "job": 7, "host": "wn1", "seconds": 2.0}]})

    def text(complete: bool) -> str:
        return "\n".join(support.screen.summary(record, lambda _colour, line: line, complete=complete))

    assert "https://x" in text(True)
    assert "dirac login" in text(True)
    assert "astro  alice  7  wn1" in text(True)
    assert "https://x" not in text(False)
    assert "dirac login" not in text(False)
    assert "warning: w" in text(False)


def test_failed_checks_come_with_cause_and_cure(support: Any) -> None:
    record = support.record.Record("lab", "doctor")
    record.add(
        "h",
        {
            "checks": [
                {"check": "dns", "ok": False, "detail": "no address", "cause": "c", "mend": "m"},
                {"check": "clock", "ok": True, "detail": "fine"},
            ]
        },
    )
    lines = list(support.screen.summary(record, lambda _colour, line: line, complete=True))
    assert "2 checks, 1 failed" in lines
    assert "  failed  h: dns: no address" in lines
    assert any(line.endswith("cause  c") for line in lines)
    assert not any("fine" in line for line in lines)


def test_what_several_checks_say_is_said_once(support: Any) -> None:
    record = support.record.Record("lab", "doctor")
    names = ("database.connection", "database.rights", "tasks.parked")
    away = {"ok": False, "detail": "no connection", "cause": "c", "mend": "m"}
    odd = {"check": "database.version", "ok": True, "detail": "old", "cause": "c", "mend": "m"}
    well = [{"check": f"tls.{name}", "ok": True, "detail": "d", "cause": ""} for name in ("key", "chain")]
    record.add("h", {"checks": [{"check": name, **away} for name in names] + [odd, *well]})
    text = "\n".join(support.screen.summary(record, lambda _colour, line: line, complete=False))
    assert text.count("no connection") == 1
    assert "the same for database.rights, tasks.parked" in text
    assert "  look    h: database.version: old" in text
    assert text.endswith("  ok      h: tls")


def test_a_change_says_how_far_it_reaches(support: Any) -> None:
    record = support.record.Record("lab", "plan", check=True)
    for task in ("Restart MariaDB", "Write the settings", "Remove the user"):
        record.result("h", role="mariadb", task=task, changed=True)
    assert [change["risk"] for change in record.changes] == ["restarts", "safe", "careful"]


def test_many_hosts_are_counted(support: Any) -> None:
    assert support.screen.some({"b", "a"}) == "a, b"
    assert support.screen.some({"a", "b", "c", "d"}) == "4 hosts"


class Ended(list[tuple[Any, str, list[str]]]):
    """The segments that have ended: role, key, hosts."""

    def __call__(self, segment: Any) -> None:
        self.append((segment.role, segment.key, sorted(segment.hosts)))


def test_where_hosts_wait_for_each_other_a_role_ends_with_the_next(support: Any) -> None:
    ended = Ended()
    segments = support.segments.Segments(ended)
    segments.play("Run", is_free=False)
    for host in "ab":
        segments.enter("db", host)
    segments.begin("web")
    assert ended == [("db", "db", ["a", "b"])]
    segments.enter("web", "a")
    segments.play("Verify", is_free=False)
    segments.enter("db", "a")
    segments.close()
    # A role that comes again in another play is another one.
    assert ended[1:] == [("web", "web", ["a"]), ("db", "db (Verify)", ["a"])]


def test_where_hosts_go_on_alone_a_role_ends_when_its_last_host_has_left(support: Any) -> None:
    ended = Ended()
    segments = support.segments.Segments(ended)
    segments.play("Run", is_free=True)
    segments.enter("db", "a")
    segments.enter("db", "b")
    segments.enter("web", "a")
    segments.begin("db")
    assert ended == []
    segments.enter("web", "b")
    assert ended == [("db", "db", ["a", "b"])]
    segments.close()
    assert ended[1:] == [("web", "web", ["a", "b"])]


def test_what_is_done_stays_done(support: Any) -> None:
    forecast = support.times.Forecast({"a": 10, "b": 10})
    forecast.end("a", 10)
    assert forecast.look("b", 5)[0] == 0.75
    forecast.end("b", 5)
    # The second batch of hosts.
    assert forecast.look("b", 1)[0] == 0.8
    assert forecast.look("b", 0)[0] == 0.8
