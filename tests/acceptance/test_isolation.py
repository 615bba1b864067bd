"""A user of one VO can neither see nor touch anything of another: a walk over every route.

Bob administrates the VO bio. He knows all names of what belongs to the VO astro and tries each route with
them. A route that is not in the table makes the walk fail, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from dirac.formats.x509 import proxy
from tests.acceptance.installation import Installation, eventually

ASTRO = ("astro", "alice", "adam", "Observatory", "telescope", "secret-result")
JDL = """Executable = "/bin/echo"; Arguments = "secret-result"; JobName = "astro-job";
InputSandbox = {"input.txt"}; OutputSandbox = {"std.out"};"""


@dataclass(frozen=True)
class Astro:
    """What belongs to astro, by the names that bob has somehow learnt."""

    done: int
    waiting: int
    stamp: str
    input: str
    output: str
    jti: str
    refused: str
    snapshot: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Attempt:
    """One request, and the statuses with which it may be answered."""

    method: str
    path: str
    allowed: tuple[int, ...]
    body: Any = None
    params: dict[str, Any] | None = None


OPEN = {
    # These say what every client must know before it logs in, or carry a proof of their own.
    "GET /.well-known/openid-configuration",
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/jwks.json",
    "GET /.well-known/dirac-metadata",
    "GET /.well-known/security.txt",
    "GET /vo/{vo}/.well-known/openid-configuration",
    "GET /vo/{vo}/.well-known/jwks.json",
    "POST /api/auth/device",
    "GET /api/auth/device",
    "POST /api/auth/device/confirm",
    "GET /api/auth/device/complete",
    "GET /api/auth/device/complete/finished",
    "GET /api/auth/authorize",
    "POST /api/auth/authorize/confirm",
    "GET /api/auth/authorize/complete",
    "POST /api/auth/login/confirm",
    "POST /api/auth/token",
    "POST /api/auth/revoke",
    "POST /api/auth/introspect",
    "POST /api/pilots/token",
    "POST /api/sandbox-store/upload",
    "GET /api/sandbox-store/download",
    "GET /api/jobs/jdl/schema",
}
CSR = proxy.make_request(proxy.make_key()).decode()
NOW = "2026-11-20T12:00:00Z"


def attempts(astro: Astro) -> list[Attempt]:
    """Return every way to reach for astro's things."""
    ids = [astro.done, astro.waiting]
    everything = {"search": [{"parameter": "JobID", "operator": "in", "values": ids}]}
    by_vo = {"search": [{"parameter": "VO", "operator": "eq", "value": "astro"}]}
    by_pilot = {"search": [{"parameter": "PilotStamp", "operator": "eq", "value": astro.stamp}]}
    report = {"Status": "Failed", "Source": "bob"}
    resource = {"site": "DIRAC.Observatory.org"}
    found = [
        Attempt("GET", "/api/tasks", (403,)),
        Attempt("POST", "/api/tasks/{entry_id}/retry", (403,)),
        Attempt("POST", "/api/tasks/echo", (403,)),
        Attempt("GET", "/api/tasks/{entry_id}", (403,)),
        Attempt("GET", "/api/auth/userinfo", (200,)),
        Attempt("GET", "/api/auth/refresh-tokens", (200,)),
        Attempt("DELETE", f"/api/auth/refresh-tokens/{astro.jti}", (403, 404)),
        Attempt("GET", "/api/auth/clients", (403,)),
        Attempt("POST", "/api/auth/clients", (403,), {"client_id": "bobs", "vo": "astro"}),
        Attempt("DELETE", "/api/auth/clients/{client_id}", (403,)),
        Attempt("GET", "/api/auth/holders", (403,), params={"vo": "astro"}),
        Attempt("POST", "/api/auth/revocations", (403,), {"kind": "pilot", "name": astro.stamp, "vo": "astro"}),
        Attempt("POST", "/api/auth/revocations", (200,), {"kind": "pilot", "name": astro.stamp}),
        Attempt("POST", "/api/auth/revocations", (200,), {"kind": "site", "name": "DIRAC.Greenhouse.org"}),
        Attempt("POST", "/api/auth/revocations", (403,), {"kind": "user", "name": "alice", "vo": "astro"}),
        Attempt("POST", "/api/auth/revocations", (403,), {"kind": "vo", "name": "astro"}),
        Attempt("POST", "/api/pilots/secrets", (403,), {"site": "DIRAC.Observatory.org", "ce": "x", "vo": "astro"}),
        Attempt("POST", "/api/audit/search", (200,), {}),
        Attempt("GET", f"/api/audit/refusals/{astro.refused}", (404,)),
        Attempt("GET", "/api/auth/who-can", (200,), params={"verb": "kill", "object": "job"}),
        Attempt("GET", "/api/auth/who-can", (404,), params={"verb": "kill", "object": f"job:{astro.done}"}),
        Attempt("GET", "/api/config/", (200,)),
        Attempt("GET", "/api/config/tree", (200,)),
        Attempt("GET", "/api/config/tree", (200,), params={"version": 1}),
        Attempt("GET", "/api/config/diff", (200, 404), params={"old": 0, "new": 1}),
        Attempt("GET", "/api/config/log", (200,)),
        Attempt("GET", "/api/config/schema", (200,)),
        Attempt("GET", "/api/config/files", (200,)),
        Attempt("GET", "/api/config/files", (200,), params={"name": "configuration.yml"}),
        Attempt("GET", "/api/config/export", (200,), params={"form": "cfg"}),
        Attempt("GET", "/api/config/export", (200,), params={"form": "yaml"}),
        Attempt("GET", "/api/config/explain", (404,), params={"key": "virtual_organisations/astro"}),
        Attempt("GET", "/api/config/blame", (404,), params={"key": "virtual_organisations/astro"}),
        Attempt("GET", "/api/config/git", (403,)),
        Attempt("POST", "/api/config/git", (403,), {"rewritten": True}),
        Attempt("POST", "/api/config/import", (403,), {"text": "A = 1"}),
        Attempt("POST", "/api/config/apply", (403,), {"text": "sites: {}"}),
        Attempt("POST", "/api/config/rollback", (403,), {"version": 0}),
        Attempt("POST", "/api/jobs/jdl", (400,), [f'Executable="x"; InputSandbox={{"{astro.input}"}};']),
        Attempt("POST", "/api/jobs/jdl", (400,), [f'Executable="x"; InputSandbox={{"{astro.output}"}};']),
        Attempt("POST", "/api/jobs/jdl/check", (400,), [f'Executable="x"; InputSandbox={{"{astro.input}"}};']),
        Attempt("POST", "/api/jobs/jdl/check", (200,), ['Executable="x"; Site="LCG.X.ch";']),
        Attempt("POST", "/api/jobs/search", (200,), {}),
        Attempt("POST", "/api/jobs/search", (200,), everything),
        Attempt("POST", "/api/jobs/search", (200,), by_vo),
        Attempt("POST", "/api/jobs/search", (200,), by_pilot),
        Attempt("POST", "/api/jobs/search", (200,), {"parameters": ["LoggingInfo"]}),
        Attempt("POST", "/api/jobs/search", (200,), {"parameters": ["Owner"], "distinct": True}),
        Attempt("POST", "/api/jobs/export", (200,), {}, {"format": "jsonl"}),
        Attempt("POST", "/api/jobs/export", (200,), by_vo, {"format": "csv"}),
        Attempt("POST", "/api/jobs/summary", (200,), {"grouping": ["Owner", "VO", "Site"]}),
        Attempt("POST", "/api/jobs/summary", (200,), {"grouping": ["Status"], **everything}),
        Attempt("GET", "/api/jobs/shadow", (200,)),
        Attempt("POST", "/api/jobs/match", (403,), {"resource": resource, "request_id": "r"}),
        Attempt("PATCH", "/api/jobs/status", (404,), {str(i): {NOW: report} for i in ids}),
        Attempt("PATCH", "/api/jobs/status", (403, 404), {str(i): {NOW: report} for i in ids}, {"force": True}),
        Attempt("PATCH", "/api/jobs/heartbeat", (403, 404), {str(i): {"LoadAverage": 1} for i in ids}),
        Attempt("PATCH", "/api/jobs/metadata", (403, 404), {str(i): {"Site": "DIRAC.Greenhouse.org"} for i in ids}),
        Attempt("POST", "/api/jobs/reschedule", (404,), {"job_ids": ids}, {"reset_jobs": True}),
        Attempt("POST", "/api/jobs/kill", (404,), {"job_ids": ids}),
        Attempt("POST", "/api/jobs/delete", (404,), {"job_ids": ids}),
        Attempt("POST", "/api/jobs/hold", (404,), {"job_ids": ids}),
        Attempt("POST", "/api/jobs/release", (404,), {"job_ids": ids}),
        Attempt("POST", "/api/jobs/at", (200,), {"job_ids": ids, "time": NOW}),
        Attempt("POST", "/api/jobs/bulk/{verb}", (422,), {"until": max(ids)}),
        Attempt("POST", "/api/jobs/bulk/{verb}/preview", (422,), everything),
        *(
            Attempt("POST", f"/api/jobs/bulk/{verb}{path}", (200,), {**everything, **more})
            for verb in ("kill", "hold", "release", "reschedule", "reset", "delete")
            for path, more in (("", {"until": max(ids)}), ("/preview", {}))
        ),
        Attempt("POST", "/api/jobs/sandbox", (200,), {"checksum": "ab" * 32, "size": 9, "format": "tar.gz", "checksum_algorithm": "sha256"}),
        Attempt("GET", "/api/jobs/sandbox", (403, 404), params={"pfn": astro.input.partition("|")[2]}),
        Attempt("GET", "/api/jobs/sandbox", (403, 404), params={"pfn": astro.output}),
        Attempt("POST", "/api/jobs/sandbox/unassign", (204, 404), {"job_ids": ids}),
        Attempt("POST", "/api/pilots/", (400, 403), {"pilot_stamp": "bobspilot", "vo": "astro"}),
        Attempt("PATCH", "/api/pilots/metadata", (403, 404), {astro.stamp: {"Status": "Aborted"}}),
        Attempt("GET", "/api/pilots/node", (403,)),
        Attempt("POST", "/api/pilots/node/ask", (403,), {"node": "wn1", "request_id": "r", "slots": 1}),
        Attempt("POST", "/api/pilots/node/ended", (403,), {"node": "wn1", "ended": {astro.stamp: {"exit_code": 1}}}),
        Attempt("POST", "/api/pilots/token/renew", (403,)),
        Attempt("GET", "/api/pilots/explain", (404,), params={"pilot": astro.stamp}),
        Attempt("GET", "/api/sites/DIRAC.Observatory.org/explain", (404,)),
        Attempt("GET", "/api/sites/DIRAC.Observatory.org/explain", (404,), params={"vo": "astro"}),
        Attempt("POST", "/api/pilots/search", (200,), {}),
        Attempt("POST", "/api/pilots/search", (200,), {"search": [{"parameter": "PilotStamp", "operator": "eq", "value": astro.stamp}]}),
        Attempt("POST", "/api/pilots/search", (200,), {"search": [{"parameter": "JobID", "operator": "eq", "value": astro.done}]}),
        Attempt("POST", "/api/auth/certificate-token", (403,)),
        Attempt("GET", "/api/proxies", (200,)),
        Attempt("POST", "/api/proxies/requests", (403,)),
        Attempt("PUT", "/api/proxies/requests/{proxy_id}", (403,), {"chain": "x"}),
        Attempt("DELETE", "/api/proxies/{proxy_id}", (404,)),
        Attempt("POST", "/api/proxies/delegations", (403,), {"csr": CSR, "sub": "alice"}),
        Attempt("POST", "/api/proxies/delegations", (403,), {"csr": CSR, "sub": "alice", "vo": "astro"}),
        Attempt("POST", "/api/proxies/delegations", (404,), {"csr": CSR}),
        Attempt("POST", "/api/pilots/summary", (200,), {"grouping": ["VO", "GridSite"]}),
    ]  # fmt: skip
    for job_id in ids:
        one = f"/api/jobs/{job_id}"
        found += [
            Attempt("GET", f"{one}/{what}", (404,))
            for what in ("logging", "jdl", "parameters", "peek", "explain", "heartbeats")
        ]
        found += [
            Attempt("POST", f"{one}/follow", (404,)),
            Attempt("GET", f"{one}/sandbox", (404,)),
            Attempt("GET", f"{one}/sandbox/input", (404,)),
            Attempt("GET", f"{one}/sandbox/output", (404,)),
            Attempt("DELETE", f"{one}/sandbox", (404,)),
            Attempt("PATCH", f"{one}/sandbox/output", (403, 404), astro.output),
        ]
    return found


@pytest.fixture(scope="module")
def astro(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Astro:
    """Let astro work: a job with input and output, one that waits for ever, a pilot, a login."""
    directory = tmp_path_factory.mktemp("astro")
    (directory / "input.txt").write_text("secret-result")
    client = installation.client("alice")
    done = client.jobs.submit(JDL, base_dir=directory)[0].JobID
    waiting = client.jobs.submit('Executable = "/bin/true"; Tags = {"Nowhere"};')[0].JobID
    client.jobs.wait([done], timeout=90)
    assert client.jobs.status([done])[done]["Status"] == "Done"
    sandboxes = client.sandboxes.of_job(done)
    stamp = installation.rows("SELECT pilot_stamp FROM workload_attempt WHERE job_id = ?", done)[0][
        "pilot_stamp"
    ]
    # The pilot's last words change its record; wait for them before looking what nobody may change.
    eventually(lambda: not installation.pilot_pids(), "the pilots have ended")
    jti = client.auth.refresh_tokens()[0].jti
    headers = {"Authorization": f"Bearer {installation.token('alice')}"}
    refused = httpx.get(f"{installation.url}/api/tasks", headers=headers).headers["x-request-id"]
    return Astro(
        done=done,
        waiting=waiting,
        stamp=stamp,
        input="SB:SandboxSE|" + sandboxes["input"][0].removeprefix("SB:SandboxSE|"),
        output=sandboxes["output"][0].removeprefix("SB:SandboxSE|"),
        jti=jti,
        refused=refused,
        snapshot=snapshot(installation),
    )


def snapshot(installation: Installation) -> dict[str, list[dict[str, Any]]]:
    """Return all rows that belong to astro."""
    queries = {
        "jobs": "SELECT * FROM workload_job WHERE vo = 'astro' ORDER BY job_id",
        "sandboxes": "SELECT * FROM workload_sandbox_assignment WHERE job_id IN "
        "(SELECT job_id FROM workload_job WHERE vo = 'astro') ORDER BY job_id, type",
        "commands": "SELECT * FROM workload_command ORDER BY id",
        "configuration": "SELECT number, digest FROM configuration_version ORDER BY number",
    }
    return {name: installation.rows(query) for name, query in queries.items()}


@pytest.fixture(scope="module")
def bob(installation: Installation) -> Iterator[httpx.Client]:
    """Bob's bare HTTP connection."""
    headers = {"Authorization": f"Bearer {installation.token('bob')}"}
    with httpx.Client(base_url=installation.url, headers=headers, timeout=30) as client:
        yield client


def operations(installation: Installation) -> set[str]:
    """Return every route of the running server."""
    document = httpx.get(f"{installation.url}/api/openapi.json").json()
    return {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}


def route_of(attempt: Attempt, routes: set[str]) -> str:
    """Return the route that an attempt goes to."""
    if (exact := f"{attempt.method} {attempt.path}") in routes:
        return exact
    patterns = {known: re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(known)) for known in routes}
    return next(known for known, pattern in patterns.items() if re.fullmatch(pattern, exact))


def test_every_route_is_walked(installation: Installation, astro: Astro) -> None:
    routes = operations(installation)
    walked = {route_of(attempt, routes) for attempt in attempts(astro)}
    assert routes - walked - OPEN == set(), "routes that nobody has tried"


def told(attempt: Attempt, answer: httpx.Response) -> str:
    """Return what an answer tells bob: what he asked himself, as the audit log has it, is no news."""
    if attempt.path != "/api/audit/search":
        return answer.text
    return json.dumps([row for row in answer.json() if row["Actor"] != "bio:bob"])


def test_nothing_of_another_vo_is_seen_or_touched(
    installation: Installation, astro: Astro, bob: httpx.Client
) -> None:
    faults = []
    for attempt in attempts(astro):
        answer = bob.request(
            attempt.method,
            attempt.path,
            params=attempt.params,
            headers={"Content-Type": "application/json"},
            content=None if attempt.body is None else json.dumps(attempt.body),
        )
        name = f"{attempt.method} {attempt.path} {attempt.params or ''} {attempt.body or ''}"
        if answer.status_code not in attempt.allowed:
            faults.append(f"{name}: {answer.status_code} {answer.text[:200]}")
        elif answer.status_code < 300 and any(word in told(attempt, answer) for word in ASTRO):
            faults.append(f"{name}: shows {answer.text[:300]}")
    assert not faults, "\n".join(faults)
    assert snapshot(installation) == astro.snapshot, "nothing of astro has changed"


def test_another_vos_job_cannot_be_told_from_one_that_does_not_exist(astro: Astro, bob: httpx.Client) -> None:
    def text(job_id: int) -> str:
        return bob.get(f"/api/jobs/{job_id}/logging").text.replace(str(job_id), "N")

    assert text(astro.done) == text(10**9)
