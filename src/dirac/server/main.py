"""``dirac-server``: what an operator, or Ansible for them, does with a server on its own host."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from dirac.core.errors import DiracError, InvalidInputError
from dirac.core.logging import configure
from dirac.server import control
from dirac.server.settings import Settings, load

app = typer.Typer(
    help="Run and look after a DIRAC server.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

File = Annotated[
    Path, typer.Option("--settings", "-s", envvar="DIRAC_SERVER_SETTINGS", help="The settings file.")
]
Instance = Annotated[
    int, typer.Option(min=1, metavar="N", help="Which of several on this host; each has ports of its own.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Phase(Enum):
    """Which migrations are applied."""

    all = "all"
    expand = "expand"
    contract = "contract"


_TOKEN_LIFE = 7 * 86400
_RENEW_BEFORE = 2 * 86400
_PILOT_PATIENCE = 40.0
_DEFAULT = Path("dirac.toml")


def _say(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
    else:
        print("\n".join(f"{name}: {value}" for name, value in facts.items()))


@app.command()
def run(settings: File = _DEFAULT, instance: Instance = 1) -> None:
    """Run the server in the foreground.

    Told to stop (SIGTERM) it goes on for `http.drain_seconds`, no longer ready; told again, it ends at once.
    """
    from dirac.server.serve import run as serve

    loaded = load(settings).server(instance)
    configure(loaded.log_level)
    serve(loaded, instance)


@app.command()
def check(settings: File = _DEFAULT, as_json: Json = False) -> None:
    """Check a settings file, and the certificates it names; nothing is changed."""
    loaded = load(settings)
    loaded.http_tls()
    loaded.metrics_tls()
    loaded.sandbox_settings()
    _say({"changed": False, "state": loaded.state, "url": loaded.http.url}, as_json=as_json)


@app.command()
def up(
    settings: File = _DEFAULT,
    operator_token: Annotated[
        Path | None, typer.Option(help="Write an operator's token there as well, as `token` does.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make keys, migrate the database, and start the server; restart it if its settings or code changed.

    Safe to repeat: what is as it should be stays untouched.
    """
    loaded = load(settings)
    made = control.make_master_key(loaded)
    found = control.running(loaded)
    facts: dict[str, Any]
    if found is not None and found.origin == control.origin(loaded) and control.ready(loaded):
        facts = {"changed": made, "state": "was running", "pid": found.pid}
    else:
        control.stop(loaded)
        from dirac.server import database

        migrated = asyncio.run(database.migrate(loaded, "all")).changed
        seconds = round(control.start(loaded, settings), 2)
        facts = {"changed": True, "state": "started", "migrated": migrated, "ready_after_seconds": seconds}
    if operator_token is not None and _put_token(loaded, operator_token):
        facts["changed"] = True
    _say(facts, as_json=as_json)


@app.command()
def stop(
    settings: File = _DEFAULT,
    pilots: Annotated[
        bool, typer.Option("--pilots", help="End the pilots of local computing elements as well.")
    ] = False,
    instance: Instance = 1,
    as_json: Json = False,
) -> None:
    """Stop the server, letting what it does come to an end."""
    loaded = load(settings)
    stopped = control.stop(loaded, instance)
    ended = 0
    if pilots:
        from dirac.cli.demo.stop import stop_pilots

        # After the server, which starts pilots as long as there is work.
        ended = stop_pilots(loaded.path(loaded.pilots.directory), patience=_PILOT_PATIENCE)
    _say({"changed": stopped or ended > 0, "pilots": ended}, as_json=as_json)


@app.command()
def status(settings: File = _DEFAULT, instance: Instance = 1, as_json: Json = False) -> None:
    """Say whether the server runs and answers; the exit code is 0 if it does."""
    loaded = load(settings).server(instance)
    found = control.running(loaded, instance)
    answers = found is not None and control.ready(loaded)
    facts = {"running": found is not None, "ready": answers, "url": loaded.http.url}
    _say(facts | ({"pid": found.pid} if found else {}), as_json=as_json)
    raise typer.Exit(0 if answers else 1)


@app.command()
def migrate(
    settings: File = _DEFAULT,
    phase: Annotated[
        Phase, typer.Option(help="expand: what the old version can live with; contract: the rest.")
    ] = Phase.all,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the database to this version, in one go or in two phases."""
    from dirac.server import database

    loaded = load(settings)
    if plan:
        steps = asyncio.run(database.plan(loaded, phase.value))
        if as_json:
            print(json.dumps([msgspec.to_builtins(step) for step in steps]))
        for step in steps if not as_json else ():
            print(f"{step.revision:<24} {step.phase:<9} {step.risk:<9} {step.summary}")
        if not steps and not as_json:
            print("nothing to do")
        return
    _say(msgspec.to_builtins(asyncio.run(database.migrate(loaded, phase.value))), as_json=as_json)


@app.command()
def prepare(
    operator_token: Annotated[Path, typer.Option(help="Write an operator's token there, as `token` does.")],
    settings: File = _DEFAULT,
    phase: Annotated[Phase, typer.Option(help="Phase of the migrations, as for `migrate`.")] = Phase.expand,
    as_json: Json = False,
) -> None:
    """Do all that servers need before they start: `migrate` and `token` in one go."""
    from dirac.server import database

    loaded = load(settings)
    outcome = asyncio.run(database.migrate(loaded, phase.value))
    fresh = _put_token(loaded, operator_token)
    _say(msgspec.to_builtins(outcome) | {"changed": outcome.changed or fresh}, as_json=as_json)


@app.command()
def doctor(settings: File = _DEFAULT, as_json: Json = False) -> None:
    """Say whether all that this server needs is sound, and what mends it; the exit code is 0 if it is."""
    from dirac.server.doctor.main import diagnose, show

    findings = asyncio.run(diagnose(settings))
    print(msgspec.json.encode(findings).decode() if as_json else show(findings))
    raise typer.Exit(0 if all(one.ok for one in findings) else 1)


@app.command()
def token(
    out: Annotated[Path, typer.Option(help="File to write it to, readable by its owner only.")],
    settings: File = _DEFAULT,
    as_json: Json = False,
) -> None:
    """Make an operator's token, with which the configuration can be applied.

    A token that is there and valid is kept.
    """
    _say({"changed": _put_token(load(settings), out)}, as_json=as_json)


@app.command()
def node_token(
    site: Annotated[str, typer.Option(help="Site of the configuration.")],
    ce: Annotated[str, typer.Option(help="Computing element of that site, of type `node`.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write it to, readable by its owner only; a good one is kept.")
    ] = None,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Revoke all credentials of this computing element first.")
    ] = False,
    settings: File = _DEFAULT,
    as_json: Json = False,
) -> None:
    """Make the credential with which the worker nodes of a computing element ask for pilots."""
    from dirac.server.nodes import put_credential, revoke_credentials

    if out is None and not revoke:
        raise InvalidInputError("nothing to do", hint="Give --out FILE, or --revoke, or both")
    loaded = load(settings)
    revoked = asyncio.run(revoke_credentials(loaded, site, ce)) if revoke else 0
    written = False
    if out is not None:
        old = out.read_text("ascii", "replace").strip() if out.exists() else None
        written = asyncio.run(put_credential(loaded, site, ce, out, old))
    _say({"changed": written or revoked > 0, "revoked": revoked}, as_json=as_json)


@app.command()
def accounts(
    passwords: Annotated[Path, typer.Option(help="JSON file of the passwords, made here for new accounts.")],
    settings: File = _DEFAULT,
    as_json: Json = False,
) -> None:
    """Make accounts of the built-in identity provider; reads `{"vo": ["user", ...]}` from standard input.

    An account that is in the file keeps its password.
    """
    from dirac.server.composition import set_passwords

    wanted: dict[str, list[str]] = json.load(sys.stdin)
    known: dict[str, dict[str, str]] = json.loads(passwords.read_text()) if passwords.exists() else {}
    new = {
        vo: {user: secrets.token_urlsafe(12) for user in users if user not in known.get(vo, {})}
        for vo, users in wanted.items()
    }
    new = {vo: users for vo, users in new.items() if users}
    if new:
        asyncio.run(set_passwords(load(settings), new))
        for vo, users in new.items():
            known.setdefault(vo, {}).update(users)
        control.write_secret(passwords, json.dumps(known, indent=2))
    _say({"changed": bool(new)}, as_json=as_json)


@app.command()
def worker(settings: File = _DEFAULT, instance: Instance = 1) -> None:
    """Carry out background work from the broker (runner `celery`)."""
    from dirac.server.processes import work

    loaded = load(settings).background(instance)
    configure(loaded.log_level)
    work(loaded)


@app.command()
def scheduler(settings: File = _DEFAULT) -> None:
    """Hand out background work, also while no server runs; several may, on as many hosts."""
    from dirac.server.processes import schedule

    loaded = load(settings).background(None)
    configure(loaded.log_level)
    schedule(loaded)


@app.command()
def openapi(settings: File = _DEFAULT) -> None:
    """Print the description of the API (OpenAPI)."""
    from dirac.server.composition import build
    from dirac.server.serve import make_app

    print(json.dumps(make_app(build(load(settings))).openapi(), indent=1))


def _put_token(settings: Settings, out: Path) -> bool:
    """Write an operator's token unless a good one is there; returns whether it was written."""
    old = out.read_text().strip() if out.exists() else None
    # The running server is asked first: that is a tenth of the work of putting an installation together.
    if old is not None and control.accepts(settings, old, seconds=_RENEW_BEFORE):
        return False
    from dirac.server.composition import operator_token

    fresh = asyncio.run(operator_token(settings, old, seconds=_TOKEN_LIFE))
    if fresh is not None:
        control.write_secret(out, fresh)
    return fresh is not None


def main() -> None:
    """Run the command; exit codes are 0 good, 1 an error, 2 wrong usage."""
    try:
        app()
    except DiracError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidInputError) else 1)


if __name__ == "__main__":
    main()
