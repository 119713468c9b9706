"""What servers on the loopback share: they answer as a test says, check what they are asked, and fail on demand."""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


def error(message, code=None, param=None, type="invalid_request_error"):
    """As OpenAI's protocol words one."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


class FaultServer(ThreadingHTTPServer):
    """`fault_share` of the requests get one of `fault_kinds`; `script` holds what the next ones get: None, a fault, or
    (status, document, headers). `requests` is what it was asked, `faults` what it did wrong, `paid` what it answered.
    """

    daemon_threads = True
    request_queue_size = 128
    handler: ClassVar[type[BaseHTTPRequestHandler]]
    path = "/v1"
    fault_kinds: ClassVar[tuple[str, ...]] = ("429", "500", "503", "reset", "cut")

    def __init__(self, seed=7):
        super().__init__(("127.0.0.1", 0), self.handler)
        self.lock = threading.Lock()
        self.random, self.fault_share, self.script = random.Random(seed), 0.0, []
        self.latency = 0.0
        self.requests, self.paid, self.faults = [], Counter(), Counter()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}{self.path}"

    def handle_error(self, *_):
        """Connections that clients drop are part of the tests."""

    def stop(self):
        self.shutdown()
        self.server_close()

    def next_fault(self):
        with self.lock:
            if self.script:
                return self.script.pop(0)
            return self.random.choice(self.fault_kinds) if self.random.random() < self.fault_share else None


class FaultHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reset(self):
        """Breaks the connection off."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def answer(self, status, document, headers=None, cut=False):
        """Sends bytes, or anything else as JSON, or half of it; returns whether it went out whole."""
        content, kind = document, "application/octet-stream"
        if not isinstance(document, bytes):
            content, kind = json.dumps(document).encode(), "application/json"
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if cut:
            self.close_connection = True
            content = content[: len(content) // 2]
        try:
            self.wfile.write(content)
            self.wfile.flush()
        except OSError:
            return False
        return not cut
