"""A server on the loopback that knows idempotency keys: a request with a key that it has seen is answered as before
and charged once. It answers embeddings and chat; `charged` counts texts or answers paid for, by text or question.
"""

import base64
import json
import time
from collections import Counter

from support.embedding_server import vector_of
from support.fault_server import FaultHandler, FaultServer


class IdempotentServer(FaultServer):
    def __init__(self, *, knows_keys=True, dimensions=16):
        super().__init__()
        self.knows_keys, self.dimensions = knows_keys, dimensions
        self.answer = lambda question: "nothing"
        self.charged, self.answers, self.repeats = Counter(), {}, 0
        self.under_way, self.requests = 0, 0

    def work(self, asked):
        """The document for a request, which is charged."""
        if "input" in asked:
            data = []
            for place, text in enumerate(asked["input"]):
                self.charged[text] += 1
                encoded = base64.b64encode(vector_of(text, self.dimensions).tobytes()).decode()
                data.append({"object": "embedding", "index": place, "embedding": encoded})
            tokens = {"prompt_tokens": len(data), "total_tokens": len(data)}
            return {"object": "list", "data": data, "model": asked["model"], "usage": tokens}
        question, n = asked["messages"][-1]["content"], asked.get("n", 1)
        self.charged[question] += n
        choices = [
            {
                "index": place,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": self.answer(question)},
            }
            for place in range(n)
        ]
        tokens = {"prompt_tokens": 5, "completion_tokens": n, "total_tokens": 5 + n}
        return {"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"], "choices": choices,
                "usage": tokens}  # fmt: skip


class Handler(FaultHandler):
    def do_POST(self):  # noqa: N802
        server, body = self.server, self.body()
        if len(body) < int(self.headers["Content-Length"]):
            return  # the client was killed while it sent
        key = self.headers.get("Idempotency-Key") if server.knows_keys else None
        with server.lock:
            server.requests += 1
            known = server.answers.get(key) if key else None
            if known is not None:
                assert known[0] == body, "a key came back with another request"
                server.repeats += 1
                document = known[1]
            else:
                document = server.work(json.loads(body))
                if key:
                    server.answers[key] = (body, document)
            server.under_way += 1
        try:
            time.sleep(server.latency)
            self.answer(200, document)
        finally:
            with server.lock:
                server.under_way -= 1


IdempotentServer.handler = Handler
