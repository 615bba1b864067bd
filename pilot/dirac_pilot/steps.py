"""The steps from a bare node to a running agent, in their order."""

from __future__ import absolute_import, division, print_function

from .agent import agent_settings, run_agent
from .deadline import call_with_deadline
from .environment import capture_environment, find_environment
from .errors import PilotError
from .exchange import exchange_secret
from .node import node_facts


class Pilot(object):
    """What the steps know and hand on to each other.

    Attributes:
        settings, workdir, environ: As at the start.
        report: Where to say things.
        signals: What SIGTERM and SIGINT mean at present.
        secret: A function that returns the one-time secret.
        node, source_file, token, agent_environ: Results of the steps, in their order.
        exit_code: That of the agent.
    """

    def __init__(self, settings, workdir, environ, report, signals, secret):
        self.settings = settings
        self.workdir = workdir
        self.environ = environ
        self.report = report
        self.signals = signals
        self.secret = secret
        self.node = self.source_file = self.token = self.agent_environ = self.exit_code = None


def check_worker_node(pilot):
    """Look at the node, and end if there is not enough disk space."""
    settings = pilot.settings
    pilot.node = facts = call_with_deadline(
        lambda: node_facts(pilot.workdir, pilot.environ), settings["check_seconds"], "looking at the node"
    )
    if facts["disk_free_mb"] < settings["min_disk_mb"]:
        raise PilotError(
            "%d MB of disk are free in %s, %d are needed; --disk sets another minimum"
            % (facts["disk_free_mb"], pilot.workdir, settings["min_disk_mb"])
        )
    if (settings["processors"] or 1) > facts["processors_usable"]:
        pilot.report.say(
            "told to use %d processors, but only %d can be used" % (settings["processors"], facts["processors_usable"])
        )
    return facts


def find_release(pilot):
    """Find the environment of the release."""
    pilot.source_file, passed_over = find_environment(pilot.settings, pilot.report.say)
    return {"path": pilot.source_file, "passed_over": passed_over}


def get_token(pilot):
    """Exchange the one-time secret for a token."""
    token, tries = exchange_secret(pilot.settings, pilot.secret(), pilot.environ, pilot.report.say)
    pilot.report.hide(token["access_token"], token.get("refresh_token"))
    pilot.token = token
    return {"expires_at": token["expires_at"], "refreshable": "refresh_token" in token, "tries": tries}


def take_environment(pilot):
    """Take over the environment of the release."""
    captured = capture_environment(pilot.source_file, pilot.environ, pilot.settings["capture_seconds"])
    pilot.agent_environ = captured
    return {"variables": len(captured), "diracos": captured.get("DIRACOS")}


def launch_agent(pilot):
    """Run the agent to its end."""
    facts = {}

    def started(program, pid):
        facts.update(program=program, pid=pid)
        pilot.report.say("agent %s runs as process %d" % (program, pid))

    content = agent_settings(pilot.settings, pilot.node, pilot.token, pilot.workdir)
    pilot.exit_code = run_agent(content, pilot.agent_environ, pilot.settings, pilot.signals, pilot.workdir, started)
    return dict(facts, exit_code=pilot.exit_code, processors=content["processors"], max_ram_mb=content["max_ram_mb"])


# name, function, exit code of the pilot if it fails
STEPS = (
    ("CheckWorkerNode", check_worker_node, 10),
    ("FindEnvironment", find_release, 11),
    ("ExchangeSecret", get_token, 12),
    ("CaptureEnvironment", take_environment, 13),
    ("LaunchAgent", launch_agent, 14),
)
