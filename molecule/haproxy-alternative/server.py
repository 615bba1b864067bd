# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that says it is not ready for a while before it ends, as DIRAC's does."""

import http.server
import os
import signal
import ssl
import sys
import threading

READY = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = READY.is_set() or self.path != "/api/health/ready"
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())

    def log_message(self, *words):
        pass


def drain(*_):
    READY.clear()
    threading.Timer(3, lambda: os._exit(0)).start()


READY.set()
signal.signal(signal.SIGTERM, drain)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/server.pem", "/root/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
