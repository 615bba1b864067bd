"""One HTTP request, with or without TLS."""

from __future__ import absolute_import, division, print_function

import base64
import json
import os
import ssl

from .compat import HTTPConnection, HTTPException, HTTPSConnection, native, unquote, urlsplit
from .errors import PilotError
from .version import VERSION

LARGEST = 1024 * 1024


class Unreachable(PilotError):  # noqa: N818
    """The server could not be asked, or did not answer; another try may help."""


def post_json(url, body, timeout, environ, headers=()):
    """Send a JSON object and return status, headers (names in lower case) and decoded body.

    Redirections are not followed: the body holds a secret that is meant for this address only.

    Args:
        url: Where to; `https:` or `http:`.
        body: The object.
        timeout: Seconds to wait for the connection and for each piece of the answer.
        environ: The environment, for `DIRAC_CA_FILE`, `X509_CERT_DIR` and `https_proxy`.
        headers: Further headers as pairs.

    Returns:
        The body is None if it is not JSON.

    Raises:
        Unreachable: If there was no complete answer.
        PilotError: If the server cannot prove who it is.
    """
    return exchange_json("POST", url, body, timeout, environ, headers)


def get_json(url, timeout, environ, headers=()):
    """Ask for a JSON object; as `post_json`, without a body."""
    return exchange_json("GET", url, None, timeout, environ, headers)


def exchange_json(method, url, body, timeout, environ, headers):
    """Send a request and return status, headers and decoded body; see `post_json`."""
    parts = urlsplit(url)
    connection = connect(parts, timeout, environ)
    fields = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
    fields["User-Agent"] = "dirac-pilot/" + VERSION
    fields.update(headers)
    try:
        content = None if body is None else json.dumps(body).encode("ascii")
        connection.request(method, parts.path or "/", content, fields)
        response = connection.getresponse()
        content = response.read(LARGEST)
        received = dict((name.lower(), value) for name, value in response.getheaders())
        if len(content) < min(LARGEST, int(received.get("content-length", 0))):
            raise Unreachable("%s broke off its answer" % parts.netloc)
    except (EnvironmentError, HTTPException, ssl.CertificateError) as error:
        raise explain(error, parts.netloc)
    finally:
        connection.close()
    try:
        return response.status, received, native(json.loads(content.decode("utf-8")))
    except ValueError:
        return response.status, received, None


def explain(error, host):
    """Return the exception to raise for what went wrong below HTTP."""
    if isinstance(error, ssl.CertificateError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return PilotError(
            "the certificate of %s is not trusted: %s; its authority must be in the file $DIRAC_CA_FILE "
            "(--ca-file), in the directory $X509_CERT_DIR or in the file $SSL_CERT_FILE" % (host, error)
        )
    return Unreachable("%s does not answer: %s" % (host, str(error) or type(error).__name__))


def connect(parts, timeout, environ):
    """Return a connection, not yet open, through the proxy of the environment if there is one."""
    if parts.scheme == "http":
        # Only for a server nearby (see settings): a proxy would be one more to read the secret.
        return HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    context = trust(environ)
    proxy = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    if not proxy or bypasses_proxy(parts.hostname, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
    via = urlsplit(proxy if "://" in proxy else "http://" + proxy)
    connection = HTTPSConnection(via.hostname, via.port or 3128, timeout=timeout, context=context)
    headers = {}
    if via.username:
        account = "%s:%s" % (unquote(via.username), unquote(via.password or ""))
        headers["Proxy-Authorization"] = "Basic " + native(base64.b64encode(account.encode()).decode())
    connection.set_tunnel(parts.hostname, parts.port or 443, headers)
    return connection


def bypasses_proxy(host, exceptions):
    """Return whether `no_proxy` (a list of domains, or *) names this host."""
    for entry in exceptions.replace(" ", "").split(","):
        domain = entry.lstrip(".")
        if entry == "*" or (domain and (host == domain or host.endswith("." + domain))):
            return True
    return False


def trust(environ):
    """Return a TLS context that believes the authorities of the node, of `X509_CERT_DIR` and of `DIRAC_CA_FILE`."""
    if not hasattr(ssl, "create_default_context"):
        raise PilotError("this Python cannot verify certificates: 2.7.9 or later is needed")
    directory, ca_file = environ.get("X509_CERT_DIR"), environ.get("DIRAC_CA_FILE")
    if directory and not os.path.isdir(directory):
        directory = None
    if not directory and not ca_file:
        return ssl.create_default_context()  # knows SSL_CERT_FILE and SSL_CERT_DIR by itself
    # Before the node's own: of two authorities of one name the first one is believed.
    try:
        context = ssl.create_default_context(cafile=ca_file or None, capath=directory)
    except (EnvironmentError, ssl.SSLError) as error:
        raise PilotError("the authorities in $DIRAC_CA_FILE (%s) cannot be read: %s" % (ca_file, error))
    context.load_default_certs()
    return context
