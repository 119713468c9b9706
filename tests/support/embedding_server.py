"""An embedding server on the loopback that speaks OpenAI's protocol, checks what it is asked, and fails on demand."""

import base64
import hashlib
import json
import random
import time

import numpy as np
from support.fault_server import FaultHandler, FaultServer, error

KEY = "sk-test-4f1bQz8h1vYh0Lw6"


def vector_of(text, dimensions):
    """The one right vector of a text."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)


class EmbeddingServer(FaultServer):
    """Serves `model` with `dimensions` numbers a vector. The other attributes say how it misbehaves; `paid` counts each
    text that was answered in full.
    """

    fault_kinds = ("429", "500", "503", "reset", "cut", "shuffle")

    def __init__(self, dimensions=16, key=KEY):
        super().__init__()
        self.model = "text-embedding-3-small"
        self.dimensions = dimensions
        self.key = key
        self.texts_per_request = 2048
        self.words_per_text = 8192
        self.forbidden = ()  # texts that hold one of these are refused
        self.broken = {}  # text: what is done to its vector
        self.base64 = True
        self.tell_limits = {}
        self.requests_per_minute = None
        self.allowance = 1.0
        self.refilled = time.monotonic()
        self.after_answer = lambda: None
        self.files = {}
        self.batches = {}
        self.batch_faults = {}  # custom_id: (status, error)
        self.has_batches = True
        self.at = lambda what: None  # called at "upload", "create" and "created"

    def too_fast(self):
        """Whether the stated limit is exceeded: a bucket that refills steadily and holds two seconds' worth."""
        if not self.requests_per_minute:
            return False
        with self.lock:
            now = time.monotonic()
            rate = self.requests_per_minute / 60
            self.allowance = min(2 * rate, self.allowance + (now - self.refilled) * rate)
            self.refilled = now
            if self.allowance < 1:
                return True
            self.allowance -= 1
            return False

    def embed(self, asked):
        """(status, document) for the body of a request."""
        texts = asked.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if asked.get("model") != self.model:
            return 404, error("The model does not exist", "model_not_found", "model")
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            return 400, error("'$.input' is invalid", param="input")
        if len(texts) > self.texts_per_request:
            return 400, error(f"input has {len(texts)} texts, more than {self.texts_per_request}", param="input")
        if any(len(text.split()) > self.words_per_text for text in texts):
            return 400, error(f"This model's maximum context length is {self.words_per_text} tokens", param="input")
        if any(word in text for text in texts for word in self.forbidden):
            return 400, error("Your input was flagged", "content_policy", "input")
        wants_base64 = asked.get("encoding_format") == "base64"
        if wants_base64 and not self.base64:
            return 400, error("encoding_format base64 is not supported", param="encoding_format")
        data = []
        for index, text in enumerate(texts):
            vector = self.broken.get(text, lambda v: v)(vector_of(text, asked.get("dimensions") or self.dimensions))
            embedding = base64.b64encode(vector.tobytes()).decode() if wants_base64 else vector.tolist()
            data.append({"object": "embedding", "index": index, "embedding": embedding})
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return 200, {"object": "list", "data": data, "model": self.model, "usage": usage}


class Handler(FaultHandler):
    def do_POST(self):  # noqa: N802
        body = self.body()
        if not self.allowed():
            return
        if self.path == "/v1/embeddings":
            self.embeddings(json.loads(body))
        elif self.path == "/v1/files":
            self.upload(body)
        elif self.path == "/v1/batches" and self.server.has_batches:
            self.submit(json.loads(body))
        else:
            self.answer(404, error("no such path"))

    def allowed(self):
        server = self.server
        with server.lock:
            server.requests.append((self.command, self.path))
        if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
            self.answer(
                401, error(f"Incorrect API key provided: {self.headers.get('Authorization')}", "invalid_api_key")
            )
            return False
        return True

    def embeddings(self, asked):
        server = self.server
        fault = server.next_fault()
        if server.too_fast():
            server.faults["too fast"] += 1
            return self.answer(429, error("Rate limit reached", "rate_limit_exceeded"), {"retry-after-ms": "50"})
        time.sleep(server.latency)
        if isinstance(fault, tuple):
            return self.answer(*fault)
        if fault:
            server.faults[fault] += 1
        if fault == "429":
            headers = random.choice([{"retry-after-ms": "30"}, {"retry-after": "0.03"}])
            return self.answer(429, error("Rate limit reached", "rate_limit_exceeded"), headers)
        if fault in ("500", "503"):
            return self.answer(int(fault), error("The server had an error", type="server_error"))
        if fault == "reset":
            return self.reset()
        status, document = server.embed(asked)
        if fault == "shuffle" and status == 200:
            random.shuffle(document["data"])
        if fault == "few" and status == 200:
            document["data"].pop()
        if self.answer(status, document, server.tell_limits, cut=fault == "cut") and status == 200:
            with server.lock:
                server.paid.update(asked["input"])
            server.after_answer()

    # The Batch API.

    def upload(self, body):
        boundary = self.headers["Content-Type"].partition("boundary=")[2].encode()
        parts = body.split(b"--" + boundary)
        content = next(part for part in parts if b'name="file"' in part).partition(b"\r\n\r\n")[2][:-2]
        with self.server.lock:
            name = f"file-{len(self.server.files)}"
            self.server.files[name] = content
        self.server.at("upload")
        self.answer(200, self.file_object(name))

    def file_object(self, name):
        size = len(self.server.files[name])
        return {"id": name, "object": "file", "bytes": size, "created_at": 1, "filename": "x", "purpose": "batch",
                "status": "processed"}  # fmt: skip

    def submit(self, asked):
        server = self.server
        server.at("create")
        with server.lock:
            name = f"batch-{len(server.batches)}"
            kept = {key: asked.get(key) for key in ("endpoint", "input_file_id", "completion_window", "metadata")}
            server.batches[name] = kept | {"id": name, "object": "batch", "created_at": 1, "status": "in_progress"}
        server.at("created")
        self.answer(200, server.batches[name])

    def do_GET(self):  # noqa: N802
        if self.path.startswith("/v1/models/"):  # what is told of a model counts as no request
            return self.answer(404, error("no such path"))
        if not self.allowed():
            return
        path, server = self.path.partition("?")[0], self.server
        parts = path.split("/")[2:]
        if parts[0] == "batches" and not server.has_batches:
            self.answer(404, error("no such path"))
        elif parts[0] == "batches" and len(parts) == 1:
            self.answer(200, {"object": "list", "data": list(server.batches.values())[::-1], "has_more": False})
        elif parts[0] == "batches" and parts[1] in server.batches:
            self.answer(200, server.batches[parts[1]])
        elif parts[0] == "files" and parts[-1] == "content" and parts[1] in server.files:
            self.answer(200, server.files[parts[1]])
        else:
            self.answer(404, error("no such thing"))


def finish_batches(server):
    """Works off all batches: answers in random order, requests named in `batch_faults` fail."""
    for name, batch in server.batches.items():
        if batch["status"] != "in_progress":
            continue
        good, bad = [], []
        for line in server.files[batch["input_file_id"]].decode().splitlines():
            request = json.loads(line)
            assert request["url"] == "/v1/embeddings"
            assert request["method"] == "POST"
            status, document = server.batch_faults.get(request["custom_id"]) or server.embed(request["body"])
            entry = {"id": "r", "custom_id": request["custom_id"], "error": None}
            entry["response"] = {"status_code": status, "request_id": "x", "body": document}
            (good if status == 200 else bad).append(entry)
            if status == 200:
                server.paid.update(request["body"]["input"])
        random.shuffle(good)
        batch["status"] = "completed"
        batch["request_counts"] = {"total": len(good) + len(bad), "completed": len(good), "failed": len(bad)}
        for key, entries in (("output_file_id", good), ("error_file_id", bad)):
            if entries:
                server.files[f"{name}-{key}"] = "\n".join(json.dumps(entry) for entry in entries).encode()
                batch[key] = f"{name}-{key}"


EmbeddingServer.handler = Handler
