# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the account and the bucket of DIRAC in an S3 store, and a test of what the store promises.

Signature Version 4 with nothing but the standard library, as the host may have nothing else.
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: object_store
short_description: Make DIRAC's account and bucket in an S3 store, or verify the store
description:
  - C(provisioned) makes the account and its bucket through the administration of VersityGW.
  - C(verified) writes, reads and removes objects in the ways DIRAC does, and tries what has to be refused.
options:
  state: {description: What to do, choices: [provisioned, verified], required: true, type: str}
  url: {description: Where the store answers, required: true, type: str}
  region: {description: Region in signatures, type: str, default: us-east-1}
  bucket: {description: Name of the bucket, required: true, type: str}
  access_key: {description: DIRAC's account, required: true, type: str}
  secret_key: {description: Its proof, required: true, type: str}
  admin_file: {description: File with the administrator's account (provisioned), type: path}
  ca_file: {description: CA of the store; the system's if empty, type: str, default: ""}
  require_checksum: {description: Fail if the content of uploads is not checked, type: bool, default: false}
  patience: {description: Seconds to wait for the store, type: int, default: 30}
"""

UTC = timezone.utc
MOST_SKEW = 300.0  # seconds; stores refuse signatures that are 900 s off
OK = range(200, 300)
REFUSED = (400, 401, 403)


class FailedError(Exception):
    """It cannot be done, or the store does not keep a promise."""


class Account(NamedTuple):
    """Who signs."""

    access_key: str
    secret_key: str


class Answer(NamedTuple):
    """What the store answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> str:
        """The store's own words, short."""
        return f"{self.status} {self.body[:300].decode(errors='replace')}"


class Refusal(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: a signature holds for one address."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Refuse."""


class Store:
    """An S3 store.

    Args:
        url: Where it answers.
        region: Region in signatures.
        ca_file: CA to trust instead of the system's.
    """

    def __init__(self, url: str, region: str, ca_file: str) -> None:
        self.url = url.rstrip("/")
        self.region = region
        self._host = urllib.parse.urlsplit(url).netloc
        context = ssl.create_default_context(cafile=ca_file or None)
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), Refusal()
        )

    def call(
        self,
        account: Account | None,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request, signed unless `account` is None.

        Raises:
            OSError: The store cannot be reached.
        """
        asked = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote)
        sent = dict(headers or {})
        if account is not None:
            sent |= self._signed(account, method, path, asked, body, sent)
        address = f"{self.url}{path}" + (f"?{asked}" if asked else "")
        request = urllib.request.Request(address, data=body or None, headers=sent, method=method)  # noqa: S310 - scheme is validated
        try:
            with self._opener.open(request, timeout=20) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def _signed(
        self, account: Account, method: str, path: str, query: str, body: bytes, headers: dict[str, str]
    ) -> dict[str, str]:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        own = {"x-amz-date": moment, "x-amz-content-sha256": digest}
        covered = {name.lower(): value for name, value in {**headers, **own, "host": self._host}.items()}
        names = ";".join(sorted(covered))
        lines = "".join(f"{name}:{covered[name]}\n" for name in sorted(covered))
        canonical = "\n".join([method, path, query, lines, names, digest])
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signature = sign(account, scope, text)
        credential = f"Credential={account.access_key}/{scope}"
        return own | {
            "Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
        }

    def post(self, account: Account, bucket: str, key: str, announced: bytes, content: bytes) -> Answer:
        """Upload with a form whose policy fixes key, size and SHA-256, as clients of DIRAC do."""
        now = datetime.now(UTC)
        scope = f"{now:%Y%m%d}/{self.region}/s3/aws4_request"
        fields = {
            "key": key,
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": f"{account.access_key}/{scope}",
            "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
            "x-amz-checksum-algorithm": "SHA256",
            "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(announced).digest()).decode(),
        }
        conditions: list[object] = [{"bucket": bucket}, *({name: value} for name, value in fields.items())]
        conditions.append(["content-length-range", len(announced), len(announced)])
        expiration = f"{now + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
        policy = json.dumps({"expiration": expiration, "conditions": conditions})
        fields["policy"] = base64.b64encode(policy.encode()).decode()
        fields["x-amz-signature"] = sign(account, scope, fields["policy"])
        mark = secrets.token_hex(16)
        body = b"".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        )
        body += f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n\r\n'.encode()
        body += content + f"\r\n--{mark}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}"}
        return self.call(None, "POST", f"/{bucket}", body=body, headers=headers)

    def wait(self, account: Account, bucket: str, patience: int) -> Answer:
        """Ask for the bucket until the store answers.

        Raises:
            FailedError: It does not, for too long.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                return self.call(account, "HEAD", f"/{bucket}")
            except ssl.SSLCertVerificationError as error:
                raise FailedError(
                    f"the certificate of {self.url} is refused: {error.verify_message}"
                ) from None
            except OSError as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, ssl.SSLCertVerificationError):
                    text = f"the certificate of {self.url} is refused: {reason.verify_message}"
                    raise FailedError(text) from None
                if time.monotonic() > deadline:
                    raise FailedError(f"{self.url} does not answer within {patience} s: {reason}") from None
                time.sleep(0.1)


def sign(account: Account, scope: str, text: str) -> str:
    """Sign a text for a scope (date/region/service/aws4_request)."""
    key = f"AWS4{account.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def read_admin(path: str) -> Account:
    """Read the administrator's account from the environment file of the service.

    Raises:
        FailedError: It is not there.
    """
    try:
        values = dict(line.split("=", 1) for line in Path(path).read_text().splitlines() if "=" in line)
        return Account(values["ROOT_ACCESS_KEY"], values["ROOT_SECRET_KEY"])
    except (OSError, KeyError) as error:
        raise FailedError(f"the administrator's account cannot be read from {path}: {error}") from None


def provision(store: Store, admin: Account, account: Account, bucket: str) -> list[str]:
    """Make the account and its bucket; the account is then the only one."""
    changes = []
    name = account.access_key
    body = f"<Account><Access>{name}</Access><Secret>{account.secret_key}</Secret><Role>user</Role></Account>"
    made = store.call(admin, "PATCH", "/create-user", body=body.encode())
    if made.status in OK:
        changes.append("account made")
    else:
        body = f"<MutableProps><Secret>{account.secret_key}</Secret><Role>user</Role></MutableProps>"
        query = {"access": name}
        made = store.call(admin, "PATCH", "/update-user", query=query, body=body.encode())
        require(made, OK, "the account cannot be made")
        changes.append("account updated")
    made = store.call(admin, "PATCH", f"/{bucket}/create", headers={"x-vgw-owner": name})
    if made.status == 409:
        query = {"bucket": bucket, "owner": name}
        made = store.call(admin, "PATCH", "/change-bucket-owner", query=query)
        require(made, OK, f"bucket {bucket!r} cannot be given to the account")
        changes.append("owner of the bucket set")
    else:
        require(made, OK, f"bucket {bucket!r} cannot be made")
        changes.append("bucket made")
    listed = require(store.call(admin, "PATCH", "/list-users"), OK, "the accounts cannot be listed")
    for other in set(re.findall(r"<Access>([^<]*)</Access>", listed.body.decode())) - {name}:
        gone = store.call(admin, "PATCH", "/delete-user", query={"access": other})
        require(gone, OK, "an old account cannot be removed")
        changes.append("old account removed")
    return changes


def require(answer: Answer, wanted: range | tuple[int, ...], trouble: str) -> Answer:
    """Return the answer if its status is wanted.

    Raises:
        FailedError: It is not.
    """
    if answer.status not in wanted:
        raise FailedError(f"{trouble}: {answer.said}")
    return answer


def verify(store: Store, account: Account, bucket: str, patience: int) -> dict[str, object]:
    """Use the store as DIRAC does and try what has to be refused; leaves nothing behind.

    Raises:
        FailedError: A promise is not kept.
    """
    bucket_answer = store.wait(account, bucket, patience)
    sent = bucket_answer.headers.get("Date")
    skew = time.time() - parsedate_to_datetime(sent).timestamp() if sent else 0.0
    if abs(skew) > MOST_SKEW:
        raise FailedError(
            f"the clocks of {store.url} and of this host differ by {skew:.0f} s: run NTP on both"
        )
    require(bucket_answer, OK, f"bucket {bucket!r} cannot be used (does it exist, has the account rights?)")
    content = secrets.token_bytes(1000)
    keys = [f"verify/{secrets.token_hex(8)}-{number}" for number in range(3)]
    paths = [f"/{bucket}/{key}" for key in keys]
    try:
        require(store.call(account, "PUT", paths[0], body=content), OK, "writing fails")
        head = require(store.call(account, "HEAD", paths[0]), OK, "asking for the size fails")
        length = int(head.headers.get("Content-Length", -1))
        if length != len(content) or store.call(account, "GET", paths[0]).body != content:
            raise FailedError("what is read is not what was written")
        forger = Account(account.access_key, account.secret_key[::-1] + "x")
        require(store.call(forger, "GET", paths[0]), REFUSED, "a wrong signature is not refused")
        require(store.call(None, "GET", paths[0]), REFUSED, "anybody can read the bucket")
        require(store.call(None, "PUT", paths[1], body=b"x"), REFUSED, "anybody can write the bucket")
        require(store.post(account, bucket, keys[1], content, content), OK, "uploading with a form fails")
        if store.call(account, "GET", paths[1]).body != content:
            raise FailedError("what was uploaded with a form is not there")
        longer = store.post(account, bucket, keys[2], content, content + b"x")
        require(longer, REFUSED, "an upload that is too long is not refused")
        other = store.post(account, bucket, keys[2], content, content[::-1])
    finally:
        for path in paths:
            gone = store.call(account, "DELETE", path)
    require(gone, (*OK, 404), "removing fails")
    require(store.call(account, "HEAD", paths[0]), (404,), "what was removed is still there")
    return {"checksum_enforced": other.status in REFUSED, "clock_skew_seconds": round(skew, 1)}


def run(module: AnsibleModule) -> dict[str, object]:
    """Do what is asked; returns what the module answers.

    Raises:
        FailedError: It cannot be done.
    """
    given = module.params
    store = Store(given["url"], given["region"], given["ca_file"])
    account, bucket = Account(given["access_key"], given["secret_key"]), given["bucket"]
    if given["state"] == "verified":
        found = verify(store, account, bucket, given["patience"])
        if given["require_checksum"] and not found["checksum_enforced"]:
            raise FailedError("the store does not check the SHA-256 that the policy of an upload fixes")
        return {"changed": False, **found}
    if module.check_mode and not Path(given["admin_file"]).exists():
        return {"changed": True}
    if store.wait(account, bucket, given["patience"]).status in OK:
        return {"changed": False}
    if module.check_mode:
        return {"changed": True}
    return {"changed": True, "changes": provision(store, read_admin(given["admin_file"]), account, bucket)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["provisioned", "verified"]},
            "url": {"type": "str", "required": True},
            "region": {"type": "str", "default": "us-east-1"},
            "bucket": {"type": "str", "required": True},
            "access_key": {"type": "str", "required": True, "no_log": False},
            "secret_key": {"type": "str", "required": True, "no_log": True},
            "admin_file": {"type": "path"},
            "ca_file": {"type": "str", "default": ""},
            "require_checksum": {"type": "bool", "default": False},
            "patience": {"type": "int", "default": 30},
        },
        required_if=[("state", "provisioned", ["admin_file"])],
        supports_check_mode=True,
    )
    try:
        answer = run(module)
    except FailedError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{module.params['url']}: {getattr(error, 'reason', error)}")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
