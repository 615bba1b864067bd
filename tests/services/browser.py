"""A browser as far as logins need one: cookies, redirects, pages that lead on, forms."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx


class Form(HTMLParser):
    """The form of a page, and where the page leads on by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.method = "get"
        self.fields: dict[str, str] = {}
        self.boxes: dict[str, str] = {}
        self.inputs: set[str] = set()
        self.onward: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, found: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in found}
        if tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
            self.onward = attributes["content"].partition("url=")[2]
        if tag == "form" and self.action is None:
            self.action, self.method = attributes.get("action", ""), attributes.get("method", "get").lower()
        if tag == "input" and (name := attributes.get("name")):
            self.inputs.add(name)
            if attributes.get("type") == "checkbox":
                self.boxes[name] = attributes.get("value", "on")
            else:
                self.fields.setdefault(name, attributes.get("value", ""))


class Browser:
    """One browser with its cookies.

    Args:
        stop: Beginnings of addresses that it does not go to: programs wait there.
    """

    def __init__(self, *stop: str) -> None:
        self._http = httpx.Client(timeout=60)
        self._stop = stop
        self.address = ""
        self.status = 0
        self.text = ""
        self.form = Form("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the address."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.address).query).items()}

    def cookie(self, name: str) -> str:
        """Return a cookie."""
        return str(self._http.cookies[name])

    def open(self, address: str) -> Self:
        """Go to an address, and on to where it leads."""
        return self._go("GET", address, None)

    def submit(self, *tick: str, **fields: str) -> Self:
        """Fill the form in and send it; boxes are left empty unless they are named."""
        assert self.form.action is not None, f"no form on this page: {self.text}"
        filled = self.form.fields | {name: self.form.boxes[name] for name in tick} | fields
        target = urljoin(self.address, self.form.action) if self.form.action else self.address
        return self._go(self.form.method.upper(), target, filled)

    def log_in_there(self, subject: str) -> Self:
        """Go through the pages of `oidc-provider`: who it is, and that we may know."""
        assert "login" in self.form.inputs, self.text
        self.submit(login=subject, password="any")
        while self.form.fields.get("prompt") == "consent":
            self.submit()
        return self

    def _go(self, method: str, address: str, form: dict[str, str] | None) -> Self:
        for _ in range(30):
            self.address = address
            if self._stop and address.startswith(self._stop):
                self.status, self.text, self.form = 0, "", Form("")
                return self
            answer = self._http.request(method, address, data=form)
            self.status, self.text = answer.status_code, answer.text
            self.form = Form(answer.text)
            if answer.is_redirect:
                address = urljoin(address, answer.headers["location"])
            elif self.form.onward:
                address = urljoin(address, self.form.onward)
            else:
                return self
            method, form = "GET", None
        raise AssertionError(f"this leads on and on: {address}")
