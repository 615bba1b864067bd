"""How the pilot and its agent stop."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 7), (signal.SIGINT, 8)])
def test_signals_reach_the_agent_whose_exit_code_counts(pilot: Any, signum: int, code: int) -> None:
    pilot.start(mode="obey")
    assert pilot.seen["pid"]
    pilot.process.send_signal(signum)
    assert pilot.wait() == code
    assert f"signal {int(signum)}: passed on to the agent" in pilot.out
    assert pilot.report["exit_code"] == code


def test_an_agent_that_does_not_stop_is_killed(pilot: Any, tools: Any) -> None:
    pilot.settings["grace_seconds"] = 0.2
    pilot.start(mode="stubborn")
    pid = pilot.seen["pid"]
    pilot.process.send_signal(signal.SIGTERM)
    assert pilot.wait() == 137
    assert "did not stop in time and is killed" in pilot.out
    assert not tools.alive(pid)


def test_the_time_of_the_slot_ends(pilot: Any) -> None:
    pilot.settings["agent_seconds"] = 0.2
    assert pilot.run(mode="obey") in (7, 143)  # the latter if it was not ready for signals yet
    assert "the time of this slot is over" in pilot.out


def test_the_agent_does_not_outlive_a_killed_pilot(pilot: Any, tools: Any) -> None:
    pilot.start(mode="stubborn")
    pid = pilot.seen["pid"]
    os.kill(pilot.process.pid, signal.SIGKILL)
    assert pilot.wait() == -signal.SIGKILL
    tools.wait_until(lambda: not tools.alive(pid), "the end of the agent")
    assert [step["step"] for step in pilot.report["steps"]][-1] == "CaptureEnvironment"


def test_a_signal_before_the_agent_runs(pilot: Any, server: Any, tools: Any) -> None:
    server.script = [tools.reply(503, None)]
    pilot.start()
    pilot.wait_for("trying again")
    pilot.process.send_signal(signal.SIGTERM)
    assert pilot.wait() == 143
    assert pilot.last["step"] == "ExchangeSecret"
    assert pilot.last["reason"] == "stopped by signal 15"
    assert pilot.report["exit_code"] == 143


def test_a_signal_while_the_server_is_silent(pilot: Any, server: Any, tools: Any) -> None:
    server.script = [tools.reply(200, tools.good.body, after=60)]
    pilot.start()
    tools.wait_until(lambda: server.requests, "the request")
    pilot.process.send_signal(signal.SIGTERM)
    assert pilot.wait() == 143
