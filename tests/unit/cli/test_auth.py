"""What the commands about credentials print, and what they want to be told first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from dirac.cli.auth import credentials as auth
from dirac.cli.auth import tokens
from dirac.cli.main import run
from dirac.systems.identity.models import TokenResponse
from dirac.systems.identity.models_tokens import (
    HeldPilot,
    HeldRun,
    HeldSession,
    HeldSite,
    HeldUser,
    HeldVO,
    Holders,
    RevocationReceipt,
)

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def _held() -> Holders:
    session = HeldSession("jti-1", "dirac", "vo:astro group:astro_user", NOW, NOW + timedelta(hours=1))
    pilots = [
        HeldPilot("stamp-1", "ce01", NOW, "Running", [HeldRun(42, 1), HeldRun(43, 2)]),
        HeldPilot("stamp-2", "", NOW, "", []),
    ]
    sites = [HeldSite("LCG.X.ch", 1, 7, 2, pilots), HeldSite("", 2, 0, 0, [])]
    return Holders([HeldVO("astro", [HeldUser("sub", "ada", [session])], sites, ["portal"])], complete=True)


def test_the_tree_has_a_branch_for_everything() -> None:
    lines = list(auth.lines(_held()))
    assert [line.partition(",")[0].partition("  by")[0] for line in lines] == [
        "astro",
        "├─ user ada: 1 login",
        "│  └─ group:astro_user",
        "├─ site LCG.X.ch: 2 pilots logged in",
        "│  ├─ pilot stamp-1 on ce01",
        "│  └─ pilot stamp-2 on ?",
        "├─ site (not known): 0 pilots logged in",
        "└─ client portal",
    ]
    assert lines[3].endswith("1 secret unused, 7 uses left of issued secrets")
    assert lines[4].endswith(", Running, job 42 attempt 1, job 43 attempt 2")
    assert "jti-1" in lines[2], "what a login is revoked by"
    assert list(auth.lines(Holders([], complete=True))) == ["Nobody holds anything."]


def test_what_was_revoked_is_told() -> None:
    told = auth.told(RevocationReceipt("user", "bob", "astro", 2, 0, 1, 5))
    assert told == (
        "The tokens of the user bob of astro are revoked; the last server refuses them in 5 s. "
        "Ended with it: 2 logins, 1 node credential."
    )
    assert auth.told(RevocationReceipt("vo", "astro", "astro", 0, 0, 0, 5)).endswith("in 5 s.")


def test_what_a_revocation_cannot_end_is_told() -> None:
    told = auth.told(RevocationReceipt("user", "bob", "astro", 0, 0, 0, 5, proxies=2, certificates=1))
    assert "Ended with it: 2 kept proxies." in told
    assert "Still good: 1 own certificate, and proxies that the owner makes." in told
    assert told.endswith("suspend the user in the configuration.")
    assert "2 own certificates" in auth.told(RevocationReceipt("vo", "astro", "astro", 0, 0, 0, 5, 0, 2))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["auth", "revoke", "host", "x"], "there is no kind 'host'"),
        (["auth", "revoke", "vo", "astro", "--json"], "--confirm astro"),
        (["auth", "revoke", "site", "X", "--confirm", "Y"], "Nothing was done"),
        (["auth", "add-client", "x", "-p", "Everything"], "Use NormalUser"),
    ],
)
def test_what_is_refused_before_a_server_is_asked(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIRAC_URL", "http://127.0.0.1:1")
    assert run(words) == 2
    assert says in capsys.readouterr().err


def test_a_file_that_is_there_is_not_overwritten_with_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIRAC_URL", "http://127.0.0.1:1")
    file = tmp_path / "secrets"
    file.write_text("mine")
    assert run(["pilot", "secrets", "X", "ce", "--out", str(file)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_a_token_in_a_file_is_its_owners_only_and_is_replaced_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], str]] = []

    class _Auth:
        @staticmethod
        def capability_token(scopes: list[str], audience: str) -> TokenResponse:
            asked.append((scopes, audience))
            return TokenResponse(f"token-{len(asked)}", 900, "Bearer", scope=" ".join(scopes))

    @contextmanager
    def client(_ctx: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(auth=_Auth)

    monkeypatch.setattr(tokens, "client", client)
    words = ["auth", "token", "-a", "https://se.test", "-s", "storage.read:/a", "-s", "compute.read"]
    assert run(words) == 0
    out = capsys.readouterr()
    assert out.out == "token-1\n", "and nothing else: it goes into a variable"
    assert "storage.read:/a compute.read" in out.err
    file = tmp_path / "bt_u1"
    file.write_text("old")
    assert run([*words, "--out", str(file), "--json"]) == 0
    assert file.read_text() == "token-2\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "token-2" not in capsys.readouterr().out
    assert [one.name for one in tmp_path.iterdir()] == ["bt_u1"]
    assert asked[0] == (["storage.read:/a", "compute.read"], "https://se.test")
    assert run([*words, "--out", str(tmp_path / "no" / "where")]) == 2
    assert "cannot be written" in capsys.readouterr().err
