"""Requests of which a value is wrong: searches, reports, configurations, archives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.acceptance.bad_case import CHECKSUM, JSON, MB, NOW, Case, World, condition, search


def searches(world: World) -> list[Case]:
    pages = {
        "page=0": "greater than or equal to 1",
        "page=-1": "greater than or equal to 1",
        "page=x": "valid integer",
        "page=99999999999999999999": "less than or equal to",
        "per_page=0": "greater than or equal to 1",
        "per_page=10001": "less than or equal to 10000",
    }
    regexes = {
        "(": "no regular expression", "[": "no regular expression", "a**": "no regular expression",
        "(?i)a": "POSIX", "(a+)+": "repeats", "a" * 300: "longer than 256", r"\bx": "differently",
        "a{1,999}": "differently", "a{,3}": "differently", "[a[:digit:]]": "differently",
        r"\u0041": "differently",
    }  # fmt: skip
    return [
        *(search(422, {}, "query.", says, path=f"/api/jobs/search?{query}") for query, says in pages.items()),
        *(condition("JobName", "regex", regex, says) for regex, says in regexes.items()),
        search(416, {}, "there are", "jobs", path="/api/jobs/search?page=2147483647&per_page=10000"),
        search(422, [], "body", "Expected `object | null`"),
        search(422, {"nonsense": 1}, "unknown field `nonsense`"),
        search(422, {"search": [{"parameter": "VO", "operator": "is", "value": 1}]}, "$.search[0].operator"),
        search(422, {"search": [{"parameter": "VO", "operator": "eq", "value": [1]}]}, "$.search[0].value"),
        search(422, {"search": [{"parameter": "JobID", "operator": "eq", "value": 2**63}]}, "$.search[0]"),
        search(
            422, {"search": [{"parameter": "JobID", "operator": "eq", "value": 1.5}]}, "$.search[0].value"
        ),
        search(422, {"sort": [{"parameter": "JobID", "direction": "up"}]}, "$.sort[0].direction"),
        search(422, {"search": [{"parameter": "VO", "operator": "eq"}]}, "search[0]", "needs one 'value'"),
        search(422, {"search": [{"parameter": "VO", "operator": "in"}]}, "search[0]", "list in 'values'"),
        search(422, {"search": [{"parameter": "VO", "operator": "eq", "value": "x"}] * 101}, "at most 100"),
        search(422, {"sort": [{"parameter": "Nonsense"}]}, "Nonsense", "Known are"),
        search(422, {"parameters": ["Nonsense"]}, "Nonsense", "Known are"),
        search(422, {"parameters": ["VO"], "distinct": True, "sort": [{"parameter": "JobID"}]}, "distinct"),
        search(422, {"grouping": ["Nonsense"]}, "Nonsense", "Known are", path="/api/jobs/summary"),
        search(422, {}, "grouping", path="/api/jobs/summary"),
        condition("Nonsense", "eq", "x", "no parameter 'Nonsense'", "Known are"),
        condition("Owner", "eq", "x" * 10 * MB, "longer than 4096"),
        search(
            422,
            {"search": [{"parameter": "VO", "operator": "in", "values": ["x"] * 10_001}]},
            "at most 10000",
            "Split",
        ),
        condition("Owner", "like", "a\\", "backslash"),
        condition("JobID", "like", "1%", "no text"),
        condition("JobID", "eq", "many", "no whole number"),
        condition("JobID", "gt", "9" * 19, "out of range"),
        condition("UserPriority", "eq", 2**31, "out of range", "32 bits"),
        condition("VerifiedFlag", "eq", "maybe", "true or false"),
        condition("VerifiedFlag", "lt", "true", "either true or false"),
        condition("SubmissionTime", "eq", "yesterday", "no date", "2026-11-20"),
        condition("SubmissionTime", "eq", "2026-13", "no date"),
        condition("SubmissionTime", "lt", "0001-01-01T00:00:00+10:00", "no date"),
        condition("JobID", "eq", "9" * 19, "out of range", path="/api/pilots/search"),
        condition("JobID", "eq", "many", "no whole number", path="/api/pilots/search"),
        condition("JobID", "regex", "1", "'eq' or 'in'", path="/api/pilots/search"),
        condition("BenchMark", "eq", "nan", "no number", path="/api/pilots/search"),
        condition("BenchMark", "gt", "1e400", "no number", path="/api/pilots/search"),
    ]


def reports(world: World) -> list[Case]:
    job = str(world.current)

    def patch(what: str, status: int, body: Any, *says: str, caller: str = "user") -> Case:
        send = {"content": json.dumps(body), "headers": JSON}
        return Case("PATCH", f"/api/jobs/{what}", status, says, caller, send)

    def post(path: str, status: int, body: Any, *says: str, caller: str = "user") -> Case:
        return Case("POST", path, status, says, caller, {"json": body})

    failed = {"Status": "Failed"}
    pilot: Callable[..., dict[str, Any]] = lambda **more: {"pilot_stamp": "new", "vo": "astro", **more}  # noqa: E731
    resource: dict[str, Any] = {"site": "DIRAC.Observatory.org"}
    return [
        patch("status", 400, {}, "no job was named"),
        patch("status", 400, {job: {}}, f"job {job}", "no update"),
        patch("status", 422, {job: {NOW: {"Status": "Sleeping"}}}, "Sleeping"),
        patch("status", 422, {job: {NOW: {"Nonsense": 1}}}, "Nonsense"),
        patch("status", 422, {job: {NOW: {"MinorStatus": "x" * 10 * MB}}}, "length <= 255"),
        patch("status", 422, {job: {"yesterday": failed}}, "RFC3339"),
        patch("status", 400, {job: {"2026-11-20T12:00:00": failed}}, f"job {job}", "no time zone", "RFC 3339"),
        patch("status", 400, {job: {"0001-01-01T00:00:00+10:00": failed}}, f"job {job}", "calendar"),
        patch("status", 400, {job: {"9999-12-31T23:59:59-10:00": failed}}, f"job {job}", "calendar"),
        patch("status", 422, {"x": {NOW: failed}}, "Expected `int`"),
        patch("status", 422, {"0": {NOW: failed}}, ">= 1"),
        patch("status", 422, {str(2**63): {NOW: failed}}, "<= 9223372036854775807"),
        patch("status", 404, {str(2**63 - 1): {NOW: failed}}, "there is no job", "dirac job list"),
        patch("heartbeat", 422, {job: {"LoadAverage": "high"}}, "Expected `float"),
        patch("heartbeat", 422, {job: {"StandardOutput": "x" * 10 * MB}}, "length <= 65536"),
        patch("heartbeat", 422, {job: {"Nonsense": 1}}, "Nonsense"),
        patch("metadata", 400, {job: {"Status": "Done"}}, "Status cannot be set", "Only Site"),
        patch("metadata", 400, {job: {"x": None}}, f"job {job}", "x has no value"),
        patch("metadata", 400, {job: {"": 1}}, f"job {job}", "A name has 1 to 128 characters"),
        patch("metadata", 400, {job: {"x ": 1}}, "'x '", "no blanks around it"),
        patch("metadata", 413, {job: {"x": "x" * 10 * MB}}, f"job {job}", "characters"),
        patch("metadata", 413, {job: {"Site": "x" * 129}}, f"job {job}", "129 characters"),
        patch("metadata", 413, {job: {str(i): i for i in range(101)}}, "at most 100"),
        patch("metadata", 404, {job: {"x": 1}, str(10**9): {"x": 1}}, "1000000000"),
        post("/api/jobs/kill", 422, {"job_ids": []}, "$.job_ids", "length >= 1"),
        post("/api/jobs/kill", 422, {"job_ids": [0]}, "$.job_ids[0]", ">= 1"),
        post("/api/jobs/kill", 422, {"job_ids": [-1]}, "$.job_ids[0]"),
        post("/api/jobs/kill", 422, {"job_ids": [2**63]}, "$.job_ids[0]"),
        post("/api/jobs/kill", 422, {"job_ids": ["1"]}, "$.job_ids[0]", "Expected `int`"),
        post("/api/jobs/kill", 422, {"job_ids": list(range(1, 10_002))}, "length <= 10000"),
        post("/api/jobs/kill", 404, {"job_ids": [10**9]}, "there is no job 1000000000", "dirac job list"),
        post("/api/jobs/delete", 404, {"job_ids": [2**63 - 1]}, "there is no job"),
        post("/api/jobs/reschedule", 404, {"job_ids": [10**9, 10**10]}, "there are no jobs"),
        post("/api/jobs/reschedule?reset_jobs=perhaps", 422, {"job_ids": [1]}, "query.reset_jobs"),
        post("/api/jobs/match", 422, {"resource": {}, "request_id": "r"}, "site", caller="pilot"),
        post("/api/jobs/match", 422, {"resource": resource, "request_id": ""}, "request_id", caller="pilot"),
        post("/api/jobs/match", 422, {"resource": resource, "request_id": "a\n"}, "request_id", caller="pilot"),
        post("/api/jobs/match", 422, {"resource": resource, "request_id": "a", "wait": 31}, "$.wait",
             caller="pilot"),
        post("/api/jobs/match", 422, {"resource": {"site": "x" * 129}, "request_id": "r"}, "<= 128",
             caller="pilot"),
        post("/api/pilots/", 422, pilot(pilot_stamp="x" * 33), "$.pilot_stamp", caller="operator"),
        post("/api/pilots/", 422, pilot(pilot_stamp="new\n"), "$.pilot_stamp", caller="operator"),
        post("/api/pilots/", 422, pilot(grid_site="x" * 129), "$.grid_site", "128", caller="operator"),
        post("/api/pilots/", 422, pilot(pilot_status="Asleep"), "$.pilot_status", caller="operator"),
        post("/api/pilots/", 400, pilot(vo="ASTRO"), "vo", "no virtual organisation", caller="operator"),
        post("/api/pilots/", 409, pilot(pilot_stamp="fuzzer"), "already", caller="operator"),
        Case("PATCH", "/api/pilots/metadata", 422, ("StatusReason", "255"), "operator",
             {"json": {"fuzzer": {"StatusReason": "x" * MB}}}),
        Case("PATCH", "/api/pilots/metadata", 422, ("BenchMark", "Expected `float"), "operator",
             {"json": {"fuzzer": {"BenchMark": "fast"}}}),
        Case("PATCH", "/api/pilots/metadata", 422, ("out of range",), "operator",
             {"content": b'{"fuzzer": {"BenchMark": 1e400}}', "headers": JSON}),
        Case("PATCH", "/api/pilots/metadata", 404, ("there is no pilot FUZZER",), "operator",
             {"json": {"FUZZER": {"StatusReason": "x"}}}),
        Case("PATCH", "/api/pilots/metadata", 403, ("its own GridSite",), "pilot",
             {"json": {"fuzzer": {"GridSite": "x"}}}),
        Case("GET", "/api/pilots/explain", 422, ("query.pilot",)),
        Case("GET", f"/api/pilots/explain?pilot={'x' * 256}", 422, ("query.pilot", "255")),
        Case("GET", "/api/pilots/explain?pilot=NOBODY", 404, ("there is no pilot 'NOBODY'", "dirac pilot list")),
        Case("GET", f"/api/sites/{'x' * 129}/explain", 422, ("path.site", "128")),
        Case("GET", "/api/sites/NOWHERE/explain", 404, ("there is no site 'NOWHERE'", "dirac config show")),
        *(Case("GET", f"/api/jobs/{number}/{what}", status, says)
          for what in ("jdl", "logging", "parameters", "peek", "explain", "sandbox", "sandbox/input")
          for number, status, says in (
              ("0", 422, ("path.job_id", "greater than or equal to 1")),
              ("-1", 422, ("path.job_id",)),
              ("x", 422, ("path.job_id", "valid integer")),
              (str(2**63), 422, ("path.job_id", "less than")),
              ("9" * 400, 422, ("path.job_id",)),
              (str(2**63 - 1), 404, ("there is no job", "dirac job list")),
          )),
        Case("GET", "/api/jobs/1%00/jdl", 400, ("NUL", "Remove")),
        Case("GET", "/api/config/tree?version=%00", 400, ("NUL", "Remove")),
    ]  # fmt: skip


def configurations(world: World) -> list[Case]:
    def apply(text: str, *says: str, status: int = 400, **more: Any) -> Case:
        body = {"text": text, "file": "site.yml", **more}
        return Case("POST", "/api/config/apply", status, says, "operator", {"json": body})

    return [
        apply("", "site.yml:1:1", "empty", "write {}"),
        apply("[", "site.yml:2:1", "no valid YAML"),
        apply("a: b: c", "site.yml:1:5", "indentation"),
        apply("\tx: 1", "site.yml:1:1", "tab"),
        apply("- 1", "site.yml:1:1", "found a list"),
        apply("nonsense: 1", "site.yml:1:1", "unknown option `nonsense`", "known are"),
        apply("pilot: {}\npilot: {}", "site.yml:2:1", "twice"),
        apply("--- {}\n--- {}", "site.yml:2:1", "second document"),
        apply("!!python/object:os.system x", "site.yml:1:1", "tag"),
        apply("<<: {a: b}", "site.yml:1:1", "write the options out"),
        apply("{" * 5000, "40 levels"),
        apply("x: \x07", "site.yml:1:4", "U+0007"),
        apply("workload: {lease_seconds: 0}", "site.yml:1:27", "lease_seconds", "from 1 to 2147483647"),
        apply("workload: {lease_seconds: .nan}", "lease_seconds", "whole number"),
        apply(f"workload: {{lease_seconds: {'9' * 5000}}}", "lease_seconds", "whole number"),
        apply("virtual_organisations: {astro: {default_group: x, groups: {}}}", "there is no group `x`"),
        apply('virtual_organisations: {"a\\n": {default_group: x, groups: {x: {}}}}', "expected a name"),
        apply("sites: {Nowhere: {virtual_organisations: []}}", "site's name", "three fields"),
        apply("sites: {A.B.org: {virtual_organisations: [nobody]}}", "there is no VO `nobody`"),
        apply("x" * 2 * MB, "site.yml", "larger than 1048576", status=413),
        apply("x" * 10 * MB, "site.yml", "larger than 1048576", status=413),
        apply("{}", "comment", "4096", comment="x" * 10_000),
        apply("{}", "not at 99", "apply again", status=409, expected_version=99),
        apply("{}", "Expected `int", status=422, expected_version="x"),
        Case("POST", "/api/config/apply", 422, ("text",), "operator", {"json": {}}),
        Case("POST", "/api/config/rollback", 404, ("no version 99", "config log"), "operator",
             {"json": {"version": 99}}),
        Case("POST", "/api/config/rollback", 422, ("$.version",), "operator", {"json": {"version": -1}}),
        Case("POST", "/api/config/rollback", 422, ("$.version",), "operator", {"json": {"version": 2**31}}),
        Case("GET", "/api/config/tree?version=99", 404, ("no version 99", "config log")),
        Case("GET", "/api/config/tree?version=-1", 422, ("query.version",)),
        Case("GET", "/api/config/tree?version=99999999999", 422, ("query.version",)),
        Case("GET", "/api/config/diff", 422, ("query.old", "required")),
        Case("GET", "/api/config/diff?old=0&new=99", 404, ("no version 99",)),
        Case("GET", "/api/config/log?limit=0", 422, ("query.limit",)),
        *(Case("GET", "/api/config/", 200, (), send={"headers": {"If-Modified-Since": value}})
          for value in ("yesterday", "Mon, 01 Jan 0001 00:00:00 +1200", "Mon, 01 Jan 2026 00:00:00 +99999999999",
                        "Mon, 01 Jan 99999999999 00:00:00 GMT")),
    ]  # fmt: skip


def archives(world: World) -> list[Case]:
    def announce(status: int, *says: str, **change: Any) -> Case:
        info = {"checksum": CHECKSUM, "size": 9, "format": "tar.gz", **change}
        return Case("POST", "/api/jobs/sandbox", status, says, send={"json": info})

    def upload(status: int, content: bytes, *says: str, fields: Mapping[str, str] = world.form) -> Case:
        return Case(
            "POST", "/api/sandbox-store/upload", status, says, "nobody",
            {"data": dict(fields), "files": {"file": ("a", content)}},
        )  # fmt: skip

    def damaged(content: bytes, *says: str, boundary: str = "x") -> Case:
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return Case(
            "POST", "/api/sandbox-store/upload", 400, says, "nobody", {"content": content, "headers": headers}
        )

    part = b'--x\r\nContent-Disposition: form-data; name="'
    return [
        announce(422, "$.checksum", checksum="ab"),
        announce(422, "$.checksum", checksum=CHECKSUM + "\n"),
        announce(422, "$.checksum_algorithm", checksum_algorithm="md5"),
        announce(422, "$.size", ">= 1", size=0),
        announce(422, "$.size", size=-1),
        announce(422, "$.size", "<= 9223372036854775807", size=2**63),
        announce(413, "at most 104857600", "InputData", size=2**40),
        announce(422, "$.format", format="zip"),
        announce(422, "nonsense", nonsense=1),
        upload(400, b"wrong byte", "SHA-256", "announced"),
        upload(400, b"short", "5 bytes instead of the 10 announced"),
        upload(413, b"much too long", "more than the 10 bytes"),
        upload(413, b"x" * 20 * MB, "more than the 10 bytes"),
        upload(403, b"right size", "signature is wrong", "as given", fields={**world.form, "signature": "0" * 64}),
        upload(403, b"right size", "signature is wrong", fields={**world.form, "size": "99"}),
        upload(403, b"right size", "signature is wrong", fields={**world.form, "key": "../../etc/passwd"}),
        upload(403, b"right size", "expired", "Ask for a new one", fields=world.late),
        upload(400, b"right size", "missing: key", "as given", fields={}),
        damaged(b"nonsense", "the form is damaged"),
        damaged(b"nonsense", "the form is damaged", boundary="x" * 5000),
        damaged(part + b'key"\r\n\r\nx\r\n--x--\r\n', "no file"),
        damaged(part + b'\xff"\r\n\r\nx\r\n--x--\r\n', "the form is damaged"),
        Case("POST", "/api/sandbox-store/upload", 413, ("fields", "65536"), "nobody",
             {"data": {"key": "x" * 10 * MB}, "files": {"file": ("a", b"x")}}),
        Case("GET", "/api/sandbox-store/download", 400, ("missing: key", "as given"), "nobody"),
        Case("GET", "/api/sandbox-store/download?key=a&expires=9&signature=x", 403, ("signature",), "nobody"),
        Case("GET", "/api/jobs/sandbox", 422, ("query.pfn", "required")),
        Case("GET", f"/api/jobs/sandbox?pfn={'x' * 600}", 422, ("query.pfn", "512")),
        Case("GET", "/api/jobs/sandbox?pfn=../../etc/passwd", 400, ("does not name a sandbox", "Names are")),
        Case("GET", f"/api/jobs/sandbox?pfn={world.pfn}", 404, ("never uploaded",)),
        Case("GET", f"/api/jobs/sandbox?pfn={world.pfn}", 404, ("no sandbox",), "colleague"),
        Case("PATCH", f"/api/jobs/{world.current}/sandbox/output", 400, ("does not name",), "job", {"json": "x"}),
        Case("PATCH", f"/api/jobs/{world.current}/sandbox/output", 422, ("512",), "job", {"json": "x" * MB}),
        Case("GET", f"/api/jobs/{world.current}/sandbox/sideways", 422, ("path.sandbox_type", "'input'")),
    ]  # fmt: skip
