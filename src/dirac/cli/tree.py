"""The tree of commands: what there is, said without importing any of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Leaf(NamedTuple):
    """A command.

    Attributes:
        place: ``module:function``, imported when the command is used.
        summary: What it does, in one line.
        hidden: Left out of the help.
    """

    place: str
    summary: str
    hidden: bool = False


class Branch(NamedTuple):
    """A group of commands."""

    summary: str
    commands: Mapping[str, Leaf]
    hidden: bool = False


class Root(NamedTuple):
    """All commands, in sections of the help, and what a newcomer types first."""

    summary: str
    examples: tuple[str, ...]
    sections: Mapping[str, Mapping[str, Leaf | Branch]]
    hidden: bool = False

    @property
    def commands(self) -> Mapping[str, Leaf | Branch]:
        """All of them by name."""
        return {name: node for section in self.sections.values() for name, node in section.items()}


_CLI = "dirac.cli"

JOB = Branch(
    "Submit jobs, follow them, get their results",
    {
        "submit": Leaf(f"{_CLI}.job.submit:submit", "Submit jobs from files"),
        "status": Leaf(f"{_CLI}.job.lists:status", "Show what jobs are doing"),
        "list": Leaf(f"{_CLI}.job.lists:list_jobs", "List jobs, newest first"),
        "summary": Leaf(f"{_CLI}.job.lists:summary", "Count jobs"),
        "wait": Leaf(f"{_CLI}.job.follow:wait", "Wait until jobs have ended"),
        "watch": Leaf(f"{_CLI}.job.follow:watch_jobs", "Watch jobs until they have ended"),
        "top": Leaf(f"{_CLI}.job.top:top", "Show what goes on, live"),
        "output": Leaf(f"{_CLI}.job.files:output", "Download the results of jobs"),
        "input": Leaf(f"{_CLI}.job.files:input_", "Download what was submitted with jobs"),
        "describe": Leaf(f"{_CLI}.job.describe:describe", "Show all of a job, or of a description"),
        "explain": Leaf(f"{_CLI}.job.one:explain", "Say why a job does or does not run"),
        "shadow": Leaf(f"{_CLI}.job.shadow:shadow", "Show what a candidate policy would change"),
        "log": Leaf(f"{_CLI}.job.look:log", "Show the life of a job"),
        "params": Leaf(f"{_CLI}.job.look:params", "Show the parameters of a job"),
        "peek": Leaf(f"{_CLI}.job.look:peek", "Show the end of a running job's output"),
        "kill": Leaf(f"{_CLI}.job.change:kill", "Stop jobs"),
        "hold": Leaf(f"{_CLI}.job.change:hold", "Keep jobs that wait from pilots"),
        "release": Leaf(f"{_CLI}.job.change:release", "Let jobs on hold wait again"),
        "reschedule": Leaf(f"{_CLI}.job.change:reschedule", "Let jobs run again"),
        "reset": Leaf(f"{_CLI}.job.change:reset", "Let jobs run again, however often they have"),
        "delete": Leaf(f"{_CLI}.job.change:delete", "Delete jobs"),
        "capsule": Leaf(f"{_CLI}.job.capsule:capsule", "Pack all that a job needs to run elsewhere"),
        "run-local": Leaf(f"{_CLI}.job.local:run_local", "Run a job here, without a server"),
    },
)

PILOT = Branch(
    "Look at the pilots that run jobs",
    {
        "list": Leaf(f"{_CLI}.pilot:list_pilots", "List pilots, newest first"),
        "summary": Leaf(f"{_CLI}.pilot:summary", "Count pilots"),
        "explain": Leaf(f"{_CLI}.pilot:explain", "Say why a pilot has a job or none"),
        "secrets": Leaf(f"{_CLI}.auth.credentials:secrets", "Issue secrets for pilots started by hand"),
    },
)

AUTH = Branch(
    "See who may do what, who did and who holds what; take credentials away",
    {
        "who-can": Leaf(f"{_CLI}.auth.rights:who_can", "Tell who can do something"),
        "why-denied": Leaf(f"{_CLI}.auth.rights:why_denied", "Say why a request was refused"),
        "audit": Leaf(f"{_CLI}.auth.rights:audit", "List what was done with special rights"),
        "tree": Leaf(f"{_CLI}.auth.credentials:tree", "Show who holds what"),
        "revoke": Leaf(f"{_CLI}.auth.credentials:revoke", "Revoke what a pilot, site, user or VO holds"),
        "clients": Leaf(f"{_CLI}.auth.credentials:clients", "List the registered clients"),
        "add-client": Leaf(f"{_CLI}.auth.credentials:add_client", "Register a client that has a secret"),
        "remove-client": Leaf(f"{_CLI}.auth.credentials:remove_client", "Remove a client, with its tokens"),
    },
)

CONFIG = Branch(
    "Look at the configuration, and change it",
    {
        "show": Leaf(f"{_CLI}.config.look:show", "Print the configuration"),
        "pull": Leaf(f"{_CLI}.config.change:pull", "Bring the files into a directory"),
        "plan": Leaf(f"{_CLI}.config.change:plan", "Show what a change would do"),
        "apply": Leaf(f"{_CLI}.config.change:apply", "Make a file or a directory the configuration"),
        "import": Leaf(f"{_CLI}.config.exchange:import_", "Read a configuration of DIRAC or DiracX"),
        "export": Leaf(f"{_CLI}.config.exchange:export", "Print the configuration for DIRAC or DiracX"),
        "explain": Leaf(f"{_CLI}.config.look:explain", "Say where an option comes from"),
        "blame": Leaf(f"{_CLI}.config.look:blame", "Show who changed an option"),
        "diff": Leaf(f"{_CLI}.config.look:diff", "Compare two versions"),
        "log": Leaf(f"{_CLI}.config.look:log", "List the versions"),
        "rollback": Leaf(f"{_CLI}.config.change:rollback", "Go back to an older version"),
        "schema": Leaf(f"{_CLI}.config.look:schema", "Print the JSON schema, for editors"),
    },
)

TASK = Branch(
    "Look after background work",
    {
        "list": Leaf(f"{_CLI}.task:list_tasks", "List background work"),
        "retry": Leaf(f"{_CLI}.task:retry", "Try given-up work again"),
        "echo": Leaf(f"{_CLI}.task:echo", "See that background work is done"),
    },
)

PROXY = Branch(
    "Make proxies of your certificate, and leave them with the server",
    {
        "init": Leaf(f"{_CLI}.proxy.local:init", "Make a proxy"),
        "info": Leaf(f"{_CLI}.proxy.local:info", "Show a proxy, or those that the server keeps"),
        "login": Leaf(f"{_CLI}.proxy.remote:login", "Log in with a proxy"),
        "upload": Leaf(f"{_CLI}.proxy.remote:upload", "Leave a proxy with the server"),
        "get": Leaf(f"{_CLI}.proxy.remote:get", "Get a proxy of one that the server keeps"),
        "destroy": Leaf(f"{_CLI}.proxy.remote:destroy", "Delete a proxy, here or on the server"),
    },
)

SITE = Branch(
    "Take hosts to a running site, and look after it",
    {
        "new": Leaf(f"{_CLI}.site.new:new", "Write the files of a new site"),
        "list": Leaf(f"{_CLI}.site.look:list_sites", "List the sites"),
        "plan": Leaf(f"{_CLI}.site.run:plan", "Show what deploy would change"),
        "deploy": Leaf(f"{_CLI}.site.run:deploy", "Bring hosts to what the inventory says"),
        "status": Leaf(f"{_CLI}.site.run:status", "Show what runs where"),
        "verify": Leaf(f"{_CLI}.site.run:verify", "Ask the services themselves, with real jobs"),
        "doctor": Leaf(f"{_CLI}.site.run:doctor", "Find faults, and what mends them"),
        "reconfigure": Leaf(f"{_CLI}.site.run:reconfigure", "Bring settings to what the inventory says"),
        "upgrade": Leaf(f"{_CLI}.site.run:upgrade", "Bring a running site to this version"),
        "rollback": Leaf(f"{_CLI}.site.run:rollback", "Go back to the version before"),
        "backup": Leaf(f"{_CLI}.site.run:backup", "Back up everything as one set"),
        "restore": Leaf(f"{_CLI}.site.run:restore", "Put a backup in place"),
        "rotate-secrets": Leaf(f"{_CLI}.site.run:rotate_secrets", "Give a site new secrets"),
        "add-vo": Leaf(f"{_CLI}.site.vo:add_vo", "Add a virtual organisation"),
        "remove": Leaf(f"{_CLI}.site.run:remove", "Take a site away, with its data"),
        "explain": Leaf(f"{_CLI}.site.explain:explain", "Say why jobs do or do not run at a grid site"),
        "secrets": Leaf(f"{_CLI}.site.look:secrets", "List secrets and their ages, not their values"),
    },
)

DEMO = Branch(
    "The story that bin/demo tells",
    {
        "run": Leaf(f"{_CLI}.demo.story:run", "Run real jobs on the demo's server"),
        "stop": Leaf(f"{_CLI}.demo.stop:stop", "End the demo's pilots"),
    },
    hidden=True,
)

TREE = Root(
    "DIRAC: all your computing through one door.",
    (
        "dirac login astro",
        "dirac job submit hello.jdl --watch",
        "dirac job list --status failed --since 2d",
        "dirac job explain 42",
    ),
    {
        "You": {
            "login": Leaf(f"{_CLI}.login:login", "Log in to a virtual organisation"),
            "logout": Leaf(f"{_CLI}.login:logout", "Log out"),
            "whoami": Leaf(f"{_CLI}.login:whoami", "Show who you are to the server"),
            "proxy": PROXY,
        },
        "Work": {"job": JOB, "pilot": PILOT},
        "Operation": {"auth": AUTH, "config": CONFIG, "task": TASK, "site": SITE},
        "This program": {
            "completion": Leaf(f"{_CLI}.completion:completion", "Print the completion for your shell"),
            "demo": DEMO,
        },
    },
)
