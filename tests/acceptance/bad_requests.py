"""Requests that are wrong as such: their descriptions, media, credentials, logins and addresses."""

from __future__ import annotations

from tests.acceptance.bad_case import CHECKSUM, FORM, MB, NOW, Case, World, jdl, raw


def descriptions(world: World) -> list[Case]:
    program = 'Executable = "a"; '
    return [
        jdl(400, "", "jdl[0] line 1 column 1", "empty", "Executable ="),
        jdl(400, "// nothing", "jdl[0] line 1", "empty"),
        jdl(400, 'Arguments = "x";', "jdl[0]", "Executable", "mandatory"),
        jdl(400, "Executable", "jdl[0] line 1 column 11", "expected '='", "Name = value;"),
        jdl(400, 'Executable = "a', "line 1 column 14", "does not end", "closing"),
        jdl(400, '[Executable = "a"', "line 1 column 1", "not closed", "add ']'"),
        jdl(400, program + "\nArguments = {1, 2", "line 2", "not closed"),
        jdl(400, "/* ", "comment", "not closed", "add '*/'"),
        jdl(400, program + 'executable = "b";', "column 19", "given twice", "keep one"),
        jdl(400, 'Executable = {"a", "b"};', "Executable", "accepted is one text"),
        jdl(400, program + 'CPUTime = "x";', "CPUTime = 'x'", "a whole number from 100"),
        jdl(400, program + "CPUTime = 1;", "CPUTime = 1", "a whole number from 100"),
        jdl(400, program + f"CPUTime = {'9' * 20};", "out of range", "2**63 - 1"),
        jdl(400, program + f"Foo = {'9' * 6000};", "out of range"),
        jdl(400, program + "Priority = -1;", "Priority = -1", "from 0 to 10"),
        jdl(400, program + "Site = [a = 1];", "Site", "accepted is one text"),
        jdl(400, program + "MinRAM = 1.5;", "MinRAM = 1.5", "whole number", "MB"),
        jdl(400, program + 'WholeNode = "perhaps";', "WholeNode", "perhaps"),
        jdl(400, program + "NumberOfProcessors = 0;", "NumberOfProcessors = 0", "from 1"),
        jdl(400, program + f'JobName = "{"x" * 200}";', "JobName", "128"),
        jdl(400, program + f'Tags = {{"{"x" * 200}"}};', "Tags", "at most 128"),
        jdl(400, program + 'JobType = "' + "x" * 100 + '";', "JobType is longer than 64"),
        jdl(400, program + 'LogLevel = "LOUD";', "LogLevel", "DEBUG"),
        jdl(400, program + 'InputSandbox = "SB:SandboxSE|/S3/x";', "does not name a sandbox", "Names are"),
        jdl(400, program + f'InputSandbox = "{world.pfn}";', "InputSandbox", "Upload it"),
        jdl(400, program + "Parameters = -1;", "Parameters", "number from 1"),
        jdl(400, program + "Parameters = 99999999;", "99999999 jobs", "at most 10000", "split"),
        jdl(400, program + "Parameters = {1, 2}; Parameters.x = {3};", "Parameters.x has 1", "same number"),
        jdl(400, program + "Parameters = 3; ParameterStart = 1e999;", "ParameterStart", "not a number"),
        jdl(413, program + f'Parameters = 10000; Foo = "{"x" * 60_000}";', "characters in all", "Split"),
        jdl(400, program + "Foo = " + "{" * 5000, "nesting beyond", "line 1 column 44"),
        jdl(400, "Executable = " + "[a=" * 5000, "nesting beyond"),
        jdl(413, program + f'Foo = "{"x" * 10 * MB}";', "jdl[0]", "larger than", "input sandbox"),
        jdl(413, "x" * 10 * MB, "jdl[0]", "larger than"),
        Case(
            "POST", "/api/jobs/jdl", 413, ("more than the 100000 jobs",), send={"json": [program] * 100_001}
        ),
        Case("POST", "/api/jobs/jdl", 400, ("jdl[1]",), send={"json": [program, "nonsense"]}),
        Case("POST", "/api/jobs/jdl", 400, ("at least one",), send={"json": []}),
        raw(422, b"[1]", "$[0]", "Expected `str`"),
        raw(422, b"null", "body", "Expected `array`"),
        raw(422, b'{"jdl": "x"}', "body", "Expected `array`"),
        raw(422, b"[" * 200_000, "$[0]", "Expected `str`"),
        raw(400, b"", "no valid JSON"),
        raw(400, b'["a"', "no valid JSON"),
        raw(400, b'["\xff"]', "no valid JSON", "utf-8"),
        raw(400, b'["\\ud800"]', "no valid JSON"),
        raw(400, b'["a\\u0000"]', "NUL", "Remove it"),
        raw(400, b'["a\x00"]', "NUL", "Remove it"),
        raw(400, b"x" * 20 * MB, "no valid JSON"),
        raw(400, (b"x" * MB for _ in range(20)), "no valid JSON"),
    ]


def media(world: World) -> list[Case]:
    def sent(path: str, kind: str, *says: str, status: int = 415, method: str = "POST") -> Case:
        return Case(method, path, status, says, send={"content": b"[]", "headers": {"Content-Type": kind}})

    hint = "Content-Type: application/json"
    wrong = [
        sent("/api/jobs/jdl", kind, kind, hint)
        for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded")
    ]
    return [
        *wrong,
        sent("/api/jobs/jdl", "multipart/form-data; boundary=x", "multipart/form-data", hint),
        sent("/api/jobs/jdl", "", "unknown", hint),
        sent("/api/jobs/search", "text/plain", "text/plain", hint),
        sent("/api/jobs/status", "text/json", "text/json", hint, method="PATCH"),
        sent(f"/api/jobs/{world.current}/sandbox/output", "text/plain", hint, method="PATCH"),
        sent("/api/sandbox-store/upload", "application/json", "Send multipart/form-data"),
        sent("/api/sandbox-store/upload", "multipart/form-data", "Send multipart/form-data"),
    ]


def credentials(world: World) -> list[Case]:
    def with_header(value: str) -> Case:
        return Case(
            "GET", "/api/auth/userinfo", 401, ("token", "dirac login"), "nobody",
            {"headers": {"Authorization": value}},
        )  # fmt: skip

    found = [with_header(value) for value in ("Bearer", "Basic YTpi", "bearer a b", "Bearer ...")]
    for path in ("/api/jobs/jdl", "/api/jobs/search", "/api/jobs/kill"):
        send = {"json": ['Executable = "a";']}
        found.append(Case("POST", path, 401, ("access token", "dirac login"), "nobody", send))
        found += [Case("POST", path, 401, ("token",), name, send) for name in world.forged]
    report = {str(world.current): {NOW: {"Status": "Failed"}}}
    beat = {str(world.current): {"LoadAverage": 1.0}}
    announced = {"checksum": CHECKSUM, "size": 9, "format": "tar.gz"}
    wanted = {"resource": {"site": "DIRAC.Observatory.org"}, "request_id": "again"}
    for who in ("pilot", "job"):
        found += [
            Case("POST", "/api/jobs/jdl", 403, ("submit jobs", "NormalUser"), who, {"json": ["x"]}),
            Case("POST", "/api/jobs/kill", 403, ("change jobs",), who, {"json": {"job_ids": [world.other]}}),
            Case("POST", "/api/jobs/search", 403, ("look at jobs",), who, {"json": {}}),
            Case("POST", "/api/config/apply", 403, ("may not",), who, {"json": {"text": "{}"}}),
            Case("GET", "/api/auth/refresh-tokens", 403, (), who),
            Case("GET", "/api/tasks", 403, ("ServiceAdministrator",), who),
        ]
    for who in ("user", "administrator", "job", "operator"):
        found.append(Case("POST", "/api/jobs/match", 403, ("ask for work", "pilots"), who, {"json": wanted}))
    for who in ("colleague", "another job", "another pilot"):
        found += [
            Case("PATCH", "/api/jobs/status", 404, ("there is no job", "dirac job list"), who, {"json": report}),
            Case("PATCH", "/api/jobs/metadata", 404, ("there is no job",), who,
                 {"json": {str(world.current): {"x": 1}}}),
        ]  # fmt: skip
    found += [
        Case("PATCH", "/api/jobs/heartbeat", 404, ("there is no job",), "another job", {"json": beat}),
        Case("PATCH", "/api/jobs/status", 409, ("stale attempt", "End this run"), "old job", {"json": report}),
        Case("PATCH", "/api/jobs/heartbeat", 409, ("stale attempt",), "old job", {"json": beat}),
        Case("PATCH", "/api/jobs/metadata", 409, ("stale attempt",), "old job",
             {"json": {str(world.current): {"x": 1}}}),
        Case("POST", "/api/jobs/sandbox", 409, ("run",), "old job", {"json": announced}),
        Case("PATCH", f"/api/jobs/{world.current}/sandbox/output", 409, ("run",), "old job",
             {"json": world.pfn}),
        Case("GET", f"/api/jobs/{world.current}/sandbox", 409, ("run",), "old job"),
        Case("PATCH", "/api/jobs/status", 403, ("job administrator", "force"), "user",
             {"json": report, "params": {"force": True}}),
        Case("POST", "/api/config/apply", 403, ("may not",), "administrator", {"json": {"text": "{}"}}),
        Case("POST", "/api/pilots/", 403, ("register pilots", "GenericPilot"), "user",
             {"json": {"pilot_stamp": "x", "vo": "astro"}}),
        Case("POST", "/api/jobs/jdl", 403, ("submit jobs",), "operator", {"json": ['Executable = "a";']}),
    ]  # fmt: skip
    return found


def logins(world: World) -> list[Case]:
    def token(error: str, description: str, *, path: str = "token", **form: str) -> Case:
        return Case(
            "POST", f"/api/auth/{path}", 400, (description,), "nobody", {"data": form, "headers": FORM}, error
        )

    device, code = "urn:ietf:params:oauth:grant-type:device_code", "authorization_code"
    client = {"client_id": "dirac"}
    target = {"redirect_uri": "http://127.0.0.1:1/"}
    json_form = Case(
        "POST", "/api/auth/token", 400, ("application/json", "application/x-www-form-urlencoded"), "nobody",
        {"json": {"grant_type": device}}, "invalid_request",
    )  # fmt: skip
    html = {"headers": {"Accept": "application/json"}}
    wrong_secret = {"pilot_stamp": "fuzzer", "pilot_secret": "x", "vo": "astro"}
    return [
        json_form,
        token("invalid_request", "'grant_type' is missing"),
        token("unsupported_grant_type", "'password' is not supported", grant_type="password"),
        token("invalid_request", "control character", grant_type="\x00"),
        token("invalid_request", "'device_code' is missing", grant_type=device, **client),
        token("invalid_client", "no client 'nobody'", grant_type=device, device_code="x", client_id="nobody"),
        token("invalid_grant", "device code", grant_type=device, device_code="x", **client),
        token("invalid_grant", "code", grant_type=code, code="x", code_verifier="v" * 43, **client, **target),
        token("invalid_grant", "refresh token", grant_type="refresh_token", refresh_token="x", **client),
        token("invalid_grant", "refresh token", grant_type="refresh_token",
              refresh_token=world.tokens["user"], **client),
        token("invalid_request", "longer than", grant_type="x" * 5000),
        Case("POST", "/api/auth/token", 413, ("larger than 65536",), "nobody",
             {"data": {"grant_type": "x" * 10 * MB}, "headers": FORM}, "invalid_request"),
        Case("POST", "/api/auth/token", 401, ("show its secret",), "nobody",
             {"data": {"grant_type": "client_credentials"}, "headers": FORM}, "invalid_client"),
        Case("POST", "/api/auth/introspect", 401, ("no such client",), "nobody",
             {"data": {"token": "x", "client_id": "x", "client_secret": "x"}, "headers": FORM}, "invalid_client"),
        Case("POST", "/api/auth/revocations", 422, ("kind",), "administrator",
             {"json": {"kind": "host", "name": "x"}}),
        Case("GET", "/api/auth/holders?limit=0", 422, ("limit",), "operator"),
        Case("POST", "/api/pilots/secrets", 403, ("GenericPilot",), "user",
             {"json": {"site": "x", "ce": "y"}}),
        token("invalid_request", "'token' is missing", path="revoke"),
        token("invalid_request", "'client_id' is missing", path="device"),
        token("invalid_scope", "no VO 'nowhere'", path="device", scope="vo:nowhere", **client),
        token("invalid_scope", "2 VOs", path="device", scope="vo:astro vo:bio", **client),
        token("invalid_scope", "no group 'nobodies'", path="device", scope="vo:astro group:nobodies", **client),
        token("invalid_scope", "not understood", path="device", scope="openid", **client),
        Case("POST", "/api/auth/token", 413, ("larger than 16777216",), "nobody",
             {"content": b"x" * 20 * MB, "headers": FORM}),
        Case("POST", "/api/auth/token", 413, ("larger than 65536",), "nobody",
             {"content": (b"a=%b&" % (b"x" * (MB - 9)) for _ in range(20)), "headers": FORM}, "invalid_request"),
        Case("GET", "/api/auth/authorize?client_id=dirac&redirect_uri=https://elsewhere.example", 400,
             ("redirect address", "operator can add"), "nobody", html),
        Case("GET", "/api/auth/authorize?client_id=dirac&redirect_uri=http://[::1", 400, (), "nobody", html),
        Case("GET", "/api/auth/authorize?client_id=nobody", 400, ("no client 'nobody'",), "nobody", html),
        Case("GET", "/api/auth/authorize/complete?code=x&state=y", 404, (), "nobody", html),
        Case("GET", "/api/auth/device?user_code=XXXXXXXX", 404, ("start the login again",), "nobody", html),
        Case("POST", "/api/auth/device/confirm", 404, ("start the login again",), "nobody",
             {"data": {"user_code": "XXXXXXXX", "username": "alice", "password": "x"}, **html}),
        Case("GET", "/api/auth/device/complete?code=x&state=y", 404, ("start the login again",), "nobody", html),
        Case("POST", "/api/auth/login/confirm", 404, ("start the login again",), "nobody",
             {"data": {"state": "A" * 43, "decision": "allow"}, **html}),
        Case("DELETE", "/api/auth/refresh-tokens/nonsense", 404, ("no refresh token 'nonsense'",)),
        Case("POST", "/api/pilots/token", 401, ("stamp, VO or secret",), "nobody", {"json": wrong_secret}),
        Case("POST", "/api/pilots/token", 413, ("4096",), "nobody", {"json": {**wrong_secret, "vo": "x" * MB}}),
        Case("POST", "/api/pilots/token", 422, ("pilot_secret",), "nobody", {"json": {"pilot_stamp": "x"}}),
    ]  # fmt: skip


def proxies(world: World) -> list[Case]:
    def wanted(status: int, *says: str, caller: str = "user", **body: object) -> Case:
        return Case("POST", "/api/proxies/delegations", status, says, caller, {"json": body})

    return [
        wanted(422, "csr"),
        wanted(400, "no request for a certificate", csr="x"),
        wanted(400, "no request for a certificate", csr="-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"),
        wanted(422, "seconds", csr="x", seconds="long"),
        wanted(422, "unknown field", csr="x", key="mine"),
        wanted(403, "gets no proxies", "Its jobs do", caller="pilot", csr="x"),
        Case("POST", "/api/auth/certificate-token", 403, ("Show one, and no token",)),
        Case("POST", "/api/auth/certificate-token", 403, (), "operator"),
        Case("POST", "/api/proxies/requests", 403, ("leaves no proxies",), "job"),
        Case("POST", "/api/proxies/requests", 403, ("accepts no certificates", "http.tls_client_ca")),
        Case("DELETE", "/api/proxies/nonsense", 404, ("no such proxy", "dirac proxy info --stored")),
        Case("DELETE", f"/api/proxies/{'x' * 5000}", 404, ("no such proxy",)),
    ]


def addresses(world: World) -> list[Case]:
    return [
        Case("GET", "/nowhere", 404, ("nothing at /nowhere", "/api/docs")),
        Case("GET", "/api/jobs", 404, ("nothing at /api/jobs",)),
        Case("GET", "/../../etc/passwd", 404, ("nothing at",)),
        Case("POST", "/api/jobs/jdl/1", 404, ("nothing at /api/jobs/jdl/1",), send={"json": []}),
        Case("GET", "/api/jobs/jdl", 405, ("GET is not possible at /api/jobs/jdl", "Use POST")),
        Case("DELETE", "/api/jobs/search", 405, ("DELETE is not possible", "Use POST")),
        Case("PUT", "/api/config/", 405, ("PUT is not possible", "Use GET")),
        Case("OPTIONS", "/api/jobs/jdl", 405, ("OPTIONS is not possible", "Use POST")),
        Case("PROPFIND", "/api/config/schema", 405, ("PROPFIND is not possible",)),
        Case("GET", "/api/tasks?state=Lost", 400, ("no state 'Lost'", "States are"), "operator"),
        Case("GET", "/api/tasks?limit=x", 422, ("query.limit",), "operator"),
        Case("POST", f"/api/tasks/{'x' * 5000}/retry", 404, ("no parked task", "task list"), "operator"),
    ]
