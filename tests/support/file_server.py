"""A file server on the loopback that misbehaves on demand, and a Progress that remembers."""

import hashlib
import threading
from collections import Counter
from contextlib import contextmanager

import numpy as np
from support.fault_server import FaultHandler, FaultServer

BODY = np.random.default_rng(1).bytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


class FileServer(FaultServer):
    """Serves `files` by path. The other attributes say how it misbehaves; `requests` is what it was asked, `sent`
    the bytes that each request got."""

    path = ""

    def __init__(self):
        super().__init__()
        self.files = {"/file.bin": BODY}
        self.etags = {}
        self.ranges = True
        self.if_range = True
        self.last_modified = "Mon, 06 May 2024 10:00:00 GMT"
        self.cuts = []
        self.refusals = []
        self.redirects = {}
        self.extra_headers = {}
        self.length_error = 0
        self.hold_at = None
        self.release = threading.Event()
        self.before = lambda: None
        self.sent = Counter()

    def stop(self):
        self.release.set()
        super().stop()

    def etag(self, path):
        return self.etags.get(path, f'"{hashlib.md5(self.files[path]).hexdigest()}"')


class Handler(FaultHandler):
    protocol_version = "HTTP/1.0"  # the end of an answer is the end of the connection, whatever length was told

    def do_GET(self):  # noqa: N802
        server = self.server
        self.number = len(server.requests)
        server.requests.append((self.path, dict(self.headers)))
        server.before()
        path = self.path.partition("?")[0]
        if server.refusals:
            return self.refuse(*server.refusals.pop(0))
        if path in server.redirects:
            return self.refuse(302, {"Location": server.redirects[path]})
        if path not in server.files:
            return self.refuse(404, {})
        body, start = server.files[path], 0
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        current = not server.if_range or condition in (None, server.etag(path), server.last_modified)
        headers = {"ETag": server.etag(path), "Last-Modified": server.last_modified}
        headers = {name: value for name, value in headers.items() if value} | server.extra_headers
        if wanted and server.ranges and current:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return self.refuse(416, {"Content-Range": f"bytes */{len(body)}"})
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        rest = body[start:]
        self.send_response(206 if "Content-Range" in headers else 200)
        for name, value in {"Content-Length": str(len(rest) + server.length_error), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if server.hold_at is not None:
            self.send(rest[: server.hold_at])
            server.release.wait(10)
            rest = rest[server.hold_at :]
        self.send(rest[: server.cuts.pop(0)] if server.cuts else rest)

    def send(self, data):
        # Counted before it is written: the client may look at the count as soon as it has the data.
        self.server.sent[self.number] += len(data)
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            self.server.sent[self.number] -= len(data)

    def refuse(self, status, headers):
        self.answer(status, b"", headers)


FileServer.handler = Handler


class Recorder:
    """A Progress that keeps what it is told. `on_advance` is called with where the task stands."""

    def __init__(self, on_advance=lambda at: None):
        self.tasks = []
        self.messages = []
        self.on_advance = on_advance

    @contextmanager
    def task(self, description, total=None, unit=""):
        self.tasks.append({"description": description, "total": total, "unit": unit, "at": 0})
        yield self

    def advance(self, amount=1):
        self.tasks[-1]["at"] += amount
        self.on_advance(self.tasks[-1]["at"])

    def describe(self, text):
        pass

    def message(self, text):
        self.messages.append(text)

    warn = message
