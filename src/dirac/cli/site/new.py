"""``dirac site new``: a few questions, and the files of a site."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.output import Json, complain, print_json
from dirac.cli.report import heading, paint
from dirac.cli.site.layout import (
    PURPOSES,
    Answers,
    Certificates,
    Engine,
    Extra,
    Hosts,
    Profile,
    parse_host,
    parse_user,
    parse_vo,
    spread,
)
from dirac.cli.site.places import DistributionOption, Site, check_name, find_distribution, program_name, sites
from dirac.cli.site.playbook import UNREACHABLE
from dirac.core.errors import InvalidInputError

_PURPOSES = ", ".join(PURPOSES)


@command(
    "dirac site new observatory  # asks",
    "dirac site new observatory --profile single --host dirac.example.org --vo astro --yes",
    "dirac site new big --profile cluster --host server=s1,s2 --host database=db1 --host node=wn1,wn2",
    "dirac site new lab --host lab@192.0.2.7 --ssh-user debian --vo bio --with monitor --yes --json"
    "  # {site, directory, files, key_file, next}",
)
def new(
    site: Annotated[str, typer.Argument(metavar="SITE", help="The name of the new site.")],
    profile: Annotated[Profile | None, typer.Option(help="One host for all, or many hosts.")] = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="The host: NAME, or NAME@ADDRESS. For a cluster PURPOSE=HOST,HOST (repeatable); "
            f"purposes are {_PURPOSES}.",
        ),
    ] = None,
    ssh_user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Who logs in; others than root need sudo.  [default: root]"),
    ] = None,
    ssh_port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Port of ssh.")] = 22,
    address: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The host name that users type; otherwise the first host's."),
    ] = None,
    vos: Annotated[
        list[str] | None, typer.Option("--vo", metavar="VO", help="A virtual organisation (repeatable).")
    ] = None,
    admin: Annotated[
        str | None, typer.Option(metavar="USER", help="First member of each VO; otherwise you.")
    ] = None,
    database: Annotated[Engine | None, typer.Option(help="The database engine.")] = None,
    certificates: Annotated[
        Certificates | None, typer.Option(help="From a CA of its own, or given by you.")
    ] = None,
    extras: Annotated[
        list[Extra] | None,
        typer.Option(
            "--with",
            metavar="EXTRA",
            help="What it may have beyond its needs: search, objects, monitor (repeatable).",
        ),
    ] = None,
    production: Annotated[
        bool, typer.Option("--production", help="All changes have to be confirmed.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", metavar="DIR", help="Where its files go; otherwise inventories/SITE."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not try to reach the hosts.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; defaults for what is not given.")
    ] = False,
    distribution: DistributionOption = None,
    as_json: Json = False,
) -> None:
    """Make a site: two files to edit, a file for each VO, and its secrets, encrypted.

    Nothing is installed yet. What is not given is asked, each question with a default. The key of the
    secrets is ~/.config/dirac/sites/SITE.key: keep a copy of it.
    """
    place = _place(check_name(site), directory, distribution)
    ask = _Questions(silent=yes or as_json or not sys.stdin.isatty())
    chosen = profile or Profile(ask.choice("One host for everything, or many", [*Profile], Profile.SINGLE))
    named = Hosts()
    for text in hosts or ask.hosts(chosen):
        named.add(text)
    spreading = spread(chosen, named.by_purpose, extras or ())
    first = spreading["balancer"][0].name
    answers = Answers(
        name=site,
        profile=chosen,
        hosts=spreading,
        ssh_user=parse_user(ssh_user or ask.text("Who logs in to the hosts by ssh", _login(first))),
        ssh_port=ssh_port,
        address=parse_host(address or ask.text("The host name that users type", first)).name,
        vos=[
            parse_vo(vo) for vo in vos or ask.text("Virtual organisations", "astro").replace(",", " ").split()
        ],
        admin=parse_user(admin or ask.text("First member of each, who administers its jobs", _you())),
        engine=database or Engine(ask.choice("Database", [*Engine], Engine.MARIADB)),
        certificates=certificates
        or Certificates(ask.choice("Certificates", [*Certificates], Certificates.OWN)),
        production=production,
    )
    if not offline:
        _require_reachable(answers, ask)
    _write(place, answers, as_json=as_json)


def _place(name: str, directory: Path | None, distribution: Path | None) -> Site:
    found = find_distribution(distribution)
    for known in sites(found):
        if known.name == name:
            raise InvalidInputError(
                f"there is a site {name} already, in {known.directory}",
                hint="Edit its files, or choose another name",
            )
    return Site(name, directory.absolute() if directory else found.inventories / name, found)


def _login(host: str) -> str:
    return getpass.getuser() if host == "localhost" else "root"


def _you() -> str:
    user = getpass.getuser()
    return "admin" if user == "root" else user


class _Questions:
    """Asks, or takes the defaults."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent

    def text(self, question: str, default: str) -> str:
        """Ask for a text."""
        return default if self._silent else str(typer.prompt(question, default=default)).strip()

    def choice(self, question: str, choices: list[Any], default: str) -> str:
        """Ask for one of some words."""
        words = [str(choice) for choice in choices]
        while True:
            answer = self.text(f"{question} ({' or '.join(words)})", str(default))
            if answer in words:
                return answer
            complain(f"{answer!r} is not one of {', '.join(words)}")

    def hosts(self, profile: Profile) -> list[str]:
        """Ask for the hosts; there is no default for them.

        Raises:
            InvalidInputError: There is nobody to ask.
        """
        if self._silent:
            raise InvalidInputError(
                "on which host?", where="--host", hint="Type --host dirac.example.org, or NAME@ADDRESS"
            )
        if profile is Profile.SINGLE:
            return [str(typer.prompt("The host (NAME, or NAME@ADDRESS)")).strip()]
        print("For each purpose its hosts, with commas; empty: none of its own.")
        found = []
        for purpose in ("server", "database", "node", "balancer", "broker", "search", "objects", "monitor"):
            names = str(typer.prompt(f"  {purpose}", default="", show_default=False)).replace(" ", "")
            if names:
                found.append(f"{purpose}={names}")
        return found

    def sure(self, question: str) -> bool:
        """Ask for a yes; nobody to ask is a no."""
        return not self._silent and typer.confirm(question)


def _require_reachable(answers: Answers, ask: _Questions) -> None:
    from dirac.cli.site.reach import unreachable

    missing = unreachable(answers.all_hosts(), user=answers.ssh_user, port=answers.ssh_port)
    if not missing:
        return
    for name, said in missing.items():
        complain(f"{name} cannot be reached as {answers.ssh_user}: {said}")
    print("  Let your key in (ssh-copy-id), or write the files now and see later: --offline", file=sys.stderr)
    if not ask.sure("Write the files nevertheless?"):
        raise typer.Exit(UNREACHABLE)


def _write(site: Site, answers: Answers, *, as_json: bool) -> None:
    from dirac.cli.site.write import write_site

    files = write_site(site, answers)
    steps = [f"{program_name()} site {verb} {site.name}" for verb in ("doctor", "deploy")]
    if as_json:
        shown = {"files": [str(path) for path in files], "key_file": str(site.key_file), "next": steps}
        print_json({"site": site.name, "directory": str(site.directory), **shown})
        return
    print(paint(f"The site {site.name} is written:", "bold"))
    remarks = {
        site.hosts_file: "the hosts, and what each is for: edit it",
        site.settings_file: "its settings: edit it",
        site.secrets_file: "its secrets, encrypted",
    }
    for path in files:
        print(f"  {_short(path):<56}  {paint(remarks.get(path, 'a VO, its members'), 'dim')}")
    print(f"  {site.key_file!s:<56}  {paint('the key of the secrets: keep a copy', 'dim')}")
    heading("Next")
    for step, remark in zip(
        steps, ("are the hosts ready? (changes nothing)", "bare hosts to a running site"), strict=True
    ):
        print(f"  {paint(f'{step:<40}', 'green')}  {paint(remark, 'dim')}")


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
