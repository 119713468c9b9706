"""A server on the loopback that speaks OpenAI's protocol for files, fine-tuning jobs and chat: it checks what it is
asked, answers as a test says, and fails on demand.
"""

import json
import re
import time
from urllib.parse import parse_qs, unquote, urlsplit

from support.fault_server import FaultHandler, FaultServer, error

MODEL = "shop-chat-2026-09-22"
KEY = "sk-test-9c2vXw7Lk0Rb5Tq1"


def session_titles(text):
    """Titles of the numbered lines of a question."""
    return re.findall(r"^\d+\. (.*)$", text, re.MULTILINE)


class ChatServer(FaultServer):
    """`answer(question, sample)` makes an answer. Half of the faults come after the work is done: what they made is
    there, but is not heard of. `paid` counts answers by question.
    """

    fault_kinds = ("429", "500", "503", "reset", "cut", "reset after", "500 after")

    def __init__(self, key=KEY):
        super().__init__(seed=5)
        self.key = key
        self.models = {MODEL}
        self.shutdowns = {}
        self.answer = lambda question, sample: "nothing"
        self.first_tokens = lambda question: []
        self.most_choices = 128
        self.most_logprobs = 20
        self.refuses_n = False
        self.wants = "max_tokens"
        self.forbidden = ()
        self.finish = "stop"
        self.files, self.jobs, self.events = {}, {}, {}
        self.bodies = []
        self.steps = ["validating_files", "queued", "running", "succeeded"]
        self.after = lambda path: None

    # What the paths do: (status, document).

    def upload(self, body, content_type):
        boundary = content_type.partition("boundary=")[2].encode()
        parts = body.split(b"--" + boundary)
        part = next(part for part in parts if b'name="file"' in part)
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'filename="([^"]*)"', head).group(1).decode()
        if not any(b'name="purpose"' in one and b"fine-tune" in one for one in parts):
            return 400, error("purpose must be fine-tune", param="purpose")
        with self.lock:
            file_id = f"file-{len(self.files)}"
            self.files[file_id] = (name, content[:-2])
        return 200, self.file_object(file_id)

    def file_object(self, file_id):
        name, content = self.files[file_id]
        return {"id": file_id, "object": "file", "bytes": len(content), "created_at": 1, "filename": name,
                "purpose": "fine-tune", "status": "processed"}  # fmt: skip

    def create_job(self, asked):
        if asked["model"] not in self.models:
            return 404, error("The model does not exist", "model_not_found", "model")
        for key in ("training_file", "validation_file"):
            if key in asked and asked[key] not in self.files:
                return 400, error(f"{key} is unknown", param=key)
        wrong = self.wrong_lines(self.files[asked["training_file"]][1])
        if wrong:
            return 400, error(wrong, "invalid_training_file", "training_file")
        if asked.get("method", {}).get("type") != "supervised":
            return 400, error("unknown method", param="method")
        with self.lock:
            job_id = f"ftjob-{len(self.jobs)}"
            hyperparameters = asked["method"]["supervised"].get("hyperparameters", {})
            self.jobs[job_id] = {
                "id": job_id, "object": "fine_tuning.job", "created_at": 1, "model": asked["model"],
                "seed": asked["seed"],
                "organization_id": "org", "result_files": [], "status": self.steps[0], "fine_tuned_model": None,
                "training_file": asked["training_file"], "validation_file": asked.get("validation_file"),
                "hyperparameters": {"n_epochs": hyperparameters.get("n_epochs", "auto")}, "error": None,
                "metadata": asked.get("metadata"), "trained_tokens": None, "finished_at": None,
                "suffix": asked.get("suffix"),
            }  # fmt: skip
            self.events[job_id] = ["Created fine-tuning job"]
        return 200, self.jobs[job_id]

    @staticmethod
    def wrong_lines(content):
        lines = content.decode().splitlines()
        if len(lines) < 10:
            return f"the file has {len(lines)} examples, fewer than 10"
        for line in lines:
            roles = [message["role"] for message in json.loads(line)["messages"]]
            if roles not in (["system", "user", "assistant"], ["user", "assistant"]):
                return f"roles are {roles}"
        return None

    def poll(self, job_id):
        """Each look takes a job a step further."""
        job = self.jobs[job_id]
        if job["status"] in self.steps[:-1]:
            job["status"] = self.steps[self.steps.index(job["status"]) + 1]
            self.events[job_id].append(f"The job is {job['status']}")
        if job["status"] == "succeeded" and not job["fine_tuned_model"]:
            job["fine_tuned_model"] = f"ft:{job['model']}:org:{job.pop('suffix') or ''}:{job_id}"
            job["trained_tokens"] = len(self.files[job["training_file"]][1].split()) * 3
            self.models.add(job["fine_tuned_model"])
            self.files["file-metrics"] = ("metrics.csv", b"step,train_loss\n1,0.5\n")
            job["result_files"] = ["file-metrics"]
        if job["status"] == "failed":
            job["error"] = {"code": "bad", "message": "the examples are too dull", "param": None}
        return job

    def chat(self, asked):
        if asked.get("model") not in self.models:
            return 404, error("The model does not exist", "model_not_found", "model")
        unwanted = {"max_tokens", "max_completion_tokens"} - {self.wants}
        if unwanted & set(asked):
            param = next(iter(unwanted))
            return 400, error(f"Unsupported parameter: '{param}' is not supported", "unsupported_parameter", param)
        if asked.get("top_logprobs", 0) > self.most_logprobs:
            return 400, error(f"top_logprobs must be at most {self.most_logprobs}", param="top_logprobs")
        if "n" in asked and self.refuses_n:
            return 400, error("only one completion is supported", param="n")
        question = asked["messages"][-1]["content"]
        if any(word in question for word in self.forbidden):
            return 400, error("Your input was flagged", "content_policy", "messages")
        n = min(asked.get("n", 1), self.most_choices)
        choices = []
        for index in range(n):
            with self.lock:
                sample = self.paid[question]
                self.paid[question] += 1
            message = {"role": "assistant", "content": self.answer(question, sample)}
            choices.append({"index": index, "message": message, "finish_reason": self.finish,
                            "logprobs": self.logprobs(question, asked)})  # fmt: skip
        usage = {"prompt_tokens": len(question.split()), "completion_tokens": sum(
            len((choice["message"]["content"] or "").split()) for choice in choices)}  # fmt: skip
        usage["total_tokens"] = sum(usage.values())
        return 200, {"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"], "choices": choices,
                     "usage": usage}  # fmt: skip

    def logprobs(self, question, asked):
        told = [{"token": token, "logprob": value, "bytes": None} for token, value in self.first_tokens(question)]
        if not asked.get("logprobs") or not told:
            return None
        return {"content": [told[0] | {"top_logprobs": told[: asked["top_logprobs"]]}], "refusal": None}


class Handler(FaultHandler):
    def do_POST(self):  # noqa: N802
        self.serve(self.body())

    def do_GET(self):  # noqa: N802
        self.serve(b"")

    def serve(self, body):
        server = self.server
        if self.command == "GET" and "/models/" in self.path and ":" not in self.path:
            return self.about_model(unquote(urlsplit(self.path).path.partition("/models/")[2]))
        with server.lock:
            server.requests.append((self.command, self.path))
        if server.key and not self.allowed():
            said = f"Incorrect API key provided: {self.headers.get('Authorization')}"
            return self.answer(401, error(said, "invalid_api_key"))
        fault = server.next_fault()
        if isinstance(fault, tuple):
            return self.answer(*fault)
        if fault:
            server.faults[fault] += 1
        if fault == "429":
            headers = {"retry-after-ms": "20"}
            return self.answer(429, error("Rate limit reached", "rate_limit_exceeded"), headers)
        if fault in ("500", "503"):
            return self.answer(int(fault), error("The server had an error", type="server_error"))
        if fault == "reset":
            return self.reset()
        time.sleep(server.latency)
        status, document = self.work(body)
        server.after(self.path)
        if fault == "reset after":
            return self.reset()
        if fault == "500 after":
            return self.answer(500, error("The server had an error", type="server_error"))
        return self.answer(status, document, cut=fault == "cut")

    def allowed(self):
        return self.headers.get("Authorization") == f"Bearer {self.server.key}"

    def about_model(self, name):
        """What is told of a model; asked beside the work, so that it counts as no request and does not fail."""
        if name not in self.server.models or not self.allowed():
            return self.answer(404, error("The model does not exist", "model_not_found", "model"))
        card = {"id": name, "object": "model", "created": 1, "owned_by": "shop"}
        return self.answer(200, card | {"shutdown_date": self.server.shutdowns.get(name)})

    def work(self, body):
        server, address = self.server, urlsplit(self.path)
        parts = address.path.split("/")[2:]
        if self.command == "POST" and parts == ["files"]:
            return server.upload(body, self.headers["Content-Type"])
        if self.command == "POST" and len(parts) < 4:
            server.bodies.append((address.path, json.loads(body)))
        if self.command == "POST" and parts == ["chat", "completions"]:
            return server.chat(json.loads(body))
        if self.command == "POST" and parts == ["fine_tuning", "jobs"]:
            return server.create_job(json.loads(body))
        if parts == ["files"]:
            return 200, page([server.file_object(file_id) for file_id in server.files][::-1])
        if parts[0] == "files" and parts[-1] == "content":
            return 200, server.files[parts[1]][1]
        if parts == ["fine_tuning", "jobs"]:
            wanted = parse_qs(address.query).get("metadata[llmseq]")
            jobs = [
                job
                for job in server.jobs.values()
                if not wanted or (job.get("metadata") or {}).get("llmseq") == wanted[0]
            ]
            return 200, page(jobs[::-1])
        if parts[:2] == ["fine_tuning", "jobs"] and parts[2] in server.jobs:
            job = server.jobs[parts[2]]
            if parts[3:] == ["cancel"]:
                job["status"] = "cancelled"
                return 200, job
            if parts[3:] == ["events"]:
                told = [{"id": f"e{number}", "object": "fine_tuning.job.event", "created_at": number, "level": "info",
                         "message": message} for number, message in enumerate(server.events[parts[2]])]  # fmt: skip
                return 200, page(told[::-1])
            return 200, server.poll(parts[2])
        return 404, error("no such thing")


def page(data):
    return {"object": "list", "data": data, "has_more": False}


ChatServer.handler = Handler
