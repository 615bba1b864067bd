"""A live view of jobs: progress, states, pilots, and what happened last.

::

    watch([Watched(client, [41, 42], "astro")], until=lambda rows: all_ended(rows))

On a terminal it is drawn in place; elsewhere there is a line whenever something has changed.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from dirac.cli.output import COLOURS
from dirac.core.errors import DiracError, UnavailableError
from dirac.core.search import Condition

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dirac.client import Client

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = dict[int, dict[str, Any]]

ENDED = frozenset({"Done", "Failed", "Killed", "Deleted"})
_ENDED_PILOTS = frozenset({"Done", "Failed", "Aborted", "Deleted"})
_PARAMETERS = ["JobID", "Status", "MinorStatus", "Site"]
_PAUSE = 0.5
_MOST = 10_000
_EVENTS = 6
_BAR = 40
_PATIENCE = 120.0
_TRY = 5.0


@dataclass(frozen=True, slots=True)
class Watched:
    """Some jobs of one user.

    Attributes:
        client: Whose jobs they are.
        job_ids: Which.
        label: What to call them, where there are several such groups.
    """

    client: Client
    job_ids: Sequence[int]
    label: str = ""


@dataclass
class Scene:
    """What is known at a moment.

    Attributes:
        rows: Statuses by job.
        labels: For each job the name of its group.
        pilots: For each state of pilots their number.
        events: What happened last, newest at the end.
        before: Those that had ended when the view began: they had no part in these jobs.
        trouble: Why nothing is known at present, if so.
    """

    rows: Rows = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    pilots: Counter[str] = field(default_factory=Counter)
    before: Counter[str] | None = None
    events: deque[tuple[datetime, int, str, str]] = field(default_factory=lambda: deque(maxlen=_EVENTS))
    trouble: str = ""

    def states(self) -> Counter[str]:
        """Count the jobs by state."""
        return Counter(row["Status"] for row in self.rows.values())

    def update(self, news: Rows, now: datetime) -> bool:
        """Take in new statuses and make events of the differences; returns whether there were any."""
        changed = False
        for job_id, row in sorted(news.items()):
            old = self.rows.get(job_id)
            if old is None or old["Status"] != row["Status"]:
                self.events.append((now, job_id, row["Status"], row["MinorStatus"]))
                changed = True
        self.rows |= news
        return changed


def all_ended(rows: Mapping[int, Row]) -> bool:
    """Tell whether no job is under way any more."""
    return all(row["Status"] in ENDED for row in rows.values())


def watch(
    groups: Sequence[Watched],
    *,
    until: Callable[[Rows], bool] = all_ended,
    timeout: float | None = None,
    quiet: bool = False,
    pause: float = _PAUSE,
) -> Rows:
    """Show jobs until a condition holds, by default until all have ended.

    Args:
        groups: The jobs.
        until: Told the statuses of all jobs, by number, which are returned when it says so.
        timeout: Seconds after which the view is given up.
        quiet: Show nothing.
        pause: Seconds between two looks.

    Raises:
        UnavailableError: The server has not answered for two minutes.
        DiracError: The time is over.
    """
    scene = Scene(labels={job_id: each.label for each in groups for job_id in each.job_ids})
    end = None if timeout is None else time.monotonic() + timeout
    heard = time.monotonic()
    with _screen(scene, quiet=quiet) as draw:
        while True:
            try:
                changed = _look(groups, scene)
                heard, scene.trouble = time.monotonic(), ""
            except UnavailableError as error:
                # The server may be restarting; the jobs go on.
                if time.monotonic() - heard > _PATIENCE:
                    raise
                changed, scene.trouble = not scene.trouble, error.message
            draw(changed)
            if scene.rows and len(scene.rows) == len(scene.labels) and until(scene.rows):
                return scene.rows
            if end is not None and time.monotonic() > end:
                raise DiracError(f"the jobs have not ended after {timeout:g} s: {_said(scene.states())}")
            time.sleep(pause)


def _look(groups: Sequence[Watched], scene: Scene) -> bool:
    """Ask for what has changed; jobs that have ended are not asked for again."""
    now = datetime.now().astimezone()
    changed = False
    pilots: Counter[str] = Counter()
    for each in groups:
        client = each.client.within(_TRY)
        open_ones = [i for i in each.job_ids if i not in scene.rows or scene.rows[i]["Status"] not in ENDED]
        news: Rows = {}
        for start in range(0, len(open_ones), _MOST):
            only = Condition("JobID", "in", values=[*open_ones[start : start + _MOST]])
            page = client.jobs.search(search=[only], parameters=_PARAMETERS, per_page=_MOST)
            news |= {row["JobID"]: row for row in page.rows}
        changed |= scene.update(news, now)
        try:
            for row in client.pilots.summary(["Status"]):
                pilots[row["Status"]] += row["count"]
        except UnavailableError:
            raise
        except DiracError:
            # Whose jobs these are may not be allowed to see pilots: then there are none to show.
            continue
    if scene.before is None:
        scene.before = Counter({state: count for state, count in pilots.items() if state in _ENDED_PILOTS})
    pilots -= scene.before
    changed |= pilots != scene.pilots
    scene.pilots = pilots
    return changed


@contextmanager
def _screen(scene: Scene, *, quiet: bool) -> Iterator[Callable[[bool], None]]:
    """Give the function that shows the scene: in place on a terminal, as lines elsewhere."""
    if quiet:
        yield lambda _changed: None
    elif not sys.stdout.isatty():
        yield lambda changed: _print_line(scene) if changed else None
    else:
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            yield lambda _changed: live.update(picture(scene), refresh=True)


def _print_line(scene: Scene) -> None:
    if scene.trouble:
        print(f"{datetime.now():%H:%M:%S}  {scene.trouble}; trying again", flush=True)
        return
    jobs, pilots = _said(scene.states()), _said(scene.pilots)
    print(f"{datetime.now():%H:%M:%S}  jobs: {jobs}   pilots: {pilots}", flush=True)


def _said(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"


def picture(scene: Scene) -> RenderableType:
    """Return the view as rich draws it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    states, total = scene.states(), max(len(scene.labels), 1)
    ended = sum(count for state, count in states.items() if state in ENDED)
    bar = Text()
    for state, count in sorted(states.items(), key=lambda item: (item[0] not in ENDED, item[0])):
        # A bar of all states: what has ended comes first.
        bar.append("━" * round(_BAR * count / total), style=_style(state) if state in ENDED else "dim")
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text("jobs", style="bold"), bar, Text(f"{ended} of {len(scene.labels)} ended"), _counts(states)
    )
    head.add_row(Text("pilots", style="bold"), _counts(scene.pilots))
    events = Table.grid(padding=(0, 2))
    for when, job_id, state, minor in scene.events:
        label = scene.labels.get(job_id, "")
        events.add_row(
            Text(f"{when:%H:%M:%S}", style="dim"),
            Text(f"{label} {job_id}".strip()),
            Text(state, style=_style(state)),
            Text(minor, style="dim"),
        )
    trouble = [Text(f"{scene.trouble}; trying again", style="red")] if scene.trouble else []
    return Group(head, "", events, *trouble)


def _counts(counts: Mapping[str, int]) -> Any:
    from rich.text import Text

    if not counts:
        return Text("none yet", style="dim")
    return Text("  ").join(
        Text(f"{count} {state}", style=_style(state)) for state, count in sorted(counts.items())
    )


def _style(state: str) -> str:
    return COLOURS.get(state, "")
