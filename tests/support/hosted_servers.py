"""Loopbacks of services that fine-tune open models, and of Azure OpenAI, made from their public documentation; faults,
files and chats are those of `ChatServer`.
"""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

from support.chat_server import ChatServer, Handler, error, page

ADAPTER = {
    "adapter_config.json": b'{"base_model_name_or_path": "open-8b", "peft_type": "LORA"}',
    "adapter_model.safetensors": b"\x02\x00\x00\x00\x00\x00\x00\x00{}",
}


# Keys of a request, and those that LoRA must have, as docs.together.ai/reference/post-fine-tunes lists them.
TOGETHER_KEYS = {
    *("training_file", "validation_file", "model", "n_epochs", "n_checkpoints", "n_evals", "batch_size"),
    *("learning_rate", "lr_scheduler", "warmup_ratio", "max_grad_norm", "weight_decay", "suffix", "training_method"),
    *("training_type", "from_checkpoint"),
}
TOGETHER_LORA = {"type", "lora_r", "lora_alpha"}


class TogetherHandler(Handler):
    """docs.together.ai/reference: upload-file, get-files, post-fine-tunes, get-finetune-download."""

    def work(self, body):
        server, address = self.server, urlsplit(self.path)
        parts = address.path.split("/")[2:]
        if parts[0] == "chat":
            return super().work(body)
        if self.command == "POST" and parts == ["files", "upload"]:
            if not re.search(rb'name="file_name"\r\n\r\nllmseq-', body):
                return 400, error("file_name is required")
            return server.upload(body, self.headers["Content-Type"])
        if parts == ["files"]:
            listed = [server.file_object(file_id) | {"bytes": 0} for file_id in server.files]
            return 200, {"data": listed}
        if self.command == "POST" and parts == ["fine-tunes"]:
            asked = json.loads(body)
            if set(asked) - TOGETHER_KEYS or TOGETHER_LORA - set(asked["training_type"]):
                return 400, error("unknown fields, or LoRA without its rank and alpha")
            return server.create(asked)
        if parts == ["fine-tunes"]:
            return 200, {"data": list(server.jobs.values())}
        if parts[0] == "fine-tunes" and parts[1] in server.jobs:
            if parts[2:] == ["cancel"]:
                server.jobs[parts[1]]["status"] = "cancelled"
            elif parts[2:] == ["events"]:
                return 200, {"data": [{"message": said, "type": "t"} for said in server.events[parts[1]]]}
            else:
                server.step(parts[1], "completed", "model_output_name")
            return 200, server.jobs[parts[1]]
        if parts == ["finetune", "download"]:
            asked = parse_qs(address.query)
            if asked.get("checkpoint") != ["adapter"] or asked["ft_id"][0] not in server.jobs:
                return 400, error("no such checkpoint")
            return 200, b"\x28\xb5\x2f\xfd packed"
        return 404, error("no such thing")


class HostedServer(ChatServer):
    """A job becomes a tuned model `org/BASE-SUFFIX` when it is done."""

    def __init__(self):
        super().__init__(key="key-of-the-service-7Xq2")
        self.models = {"open-8b"}
        self.steps = ["pending", "queued", "running", "completed"]

    def create(self, asked):
        self.bodies.append(("jobs", asked))
        wrong = self.wrong_lines(self.files[asked["training_file"]][1])
        if wrong or asked["model"] not in self.models or len(asked["suffix"]) > 40:
            return 400, error(wrong or "unknown model, or the suffix is too long")
        with self.lock:
            job_id = f"ft-{len(self.jobs)}"
            self.jobs[job_id] = asked | {"id": job_id, "status": self.steps[0], "model_output_name": None}
            self.jobs[job_id]["token"] = asked.pop("suffix")[-32:]
            self.jobs[job_id].pop("suffix", None)  # lists do not show it: the training file has to do
            self.events[job_id] = ["Created fine-tuning job"]
        return 200, self.jobs[job_id]

    def step(self, name, last, output):
        job = self.jobs[name]
        key = "status" if "status" in job and isinstance(job["status"], str) else "state"
        if job[key] in self.steps[:-1]:
            job[key] = self.steps[self.steps.index(job[key]) + 1]
            self.events[name].append(f"The job is {job[key]}")
        if job[key] == last:
            job[output] = job[output] or f"org/open-8b-{job['token']}"
            self.models.add(job[output])


class TogetherServer(HostedServer):
    handler = TogetherHandler


class FireworksHandler(Handler):
    """docs.fireworks.ai: fine-tuning-via-api, supervisedFineTuningJobs, getDownloadEndpoint."""

    def allowed(self):
        if self.path.startswith("/signed/"):
            return self.headers.get("Authorization") is None
        return super().allowed()

    def work(self, body):
        server, address = self.server, urlsplit(self.path)
        path = address.path
        if path.startswith("/inference/v1/"):
            self.path = path.removeprefix("/inference")
            return super().work(body)
        if path.startswith("/signed/"):
            return 200, ADAPTER[path.removeprefix("/signed/")]
        place = r"/v1/accounts/acme/(datasets|supervisedFineTuningJobs|models)(?:/([^:/]+))?(?::(\w+))?"
        found = re.fullmatch(place, path)
        if not found:
            return 404, error("no such thing")
        kind, name, verb = found.groups()
        if kind == "models":
            signed = {f"some/folder/{file}": f"http://127.0.0.1:{server.server_port}/signed/{file}" for file in ADAPTER}
            return 200, {"filenameToSignedUrls": signed | {"../../evil": "http://127.0.0.1:1/evil", "x.json": 3}}
        if kind == "datasets":
            return self.datasets(body, name, verb)
        return self.jobs(body, name, parse_qs(address.query))

    def datasets(self, body, name, verb):
        server = self.server
        if name is None:
            asked = json.loads(body)
            if asked["datasetId"] in server.datasets:
                return 409, error("it exists")
            server.datasets[asked["datasetId"]] = "UPLOADING"
            return 200, {"state": "UPLOADING"}
        if name not in server.datasets:
            return 404, error("no such dataset")
        if verb == "upload":
            content = body.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0]
            server.files[name] = (f"{name}.jsonl", content)
            server.datasets[name] = "READY"
        return 200, {"state": server.datasets[name]}

    def jobs(self, body, name, query):
        server = self.server
        if self.command == "POST":
            name = query["supervisedFineTuningJobId"][0]
            if name in server.jobs:
                return 409, error("it exists")
            asked = json.loads(body)
            server.bodies.append(("jobs", asked))
            content = server.files[asked["dataset"].removeprefix("accounts/acme/datasets/")][1]
            if asked["baseModel"] not in server.models or server.wrong_lines(content):
                return 400, error("unknown model or bad lines")
            server.jobs[name] = asked | {
                "name": f"accounts/acme/supervisedFineTuningJobs/{name}", "state": server.steps[0],
                "status": {"code": "OK", "message": ""}, "token": name[-32:],
            }  # fmt: skip
            server.events[name] = []
            return 200, server.jobs[name]
        if name is None:
            return 200, {"supervisedFineTuningJobs": list(server.jobs.values()), "nextPageToken": ""}
        if name not in server.jobs:
            return 404, error("no such job")
        server.step(name, "JOB_STATE_COMPLETED", "outputModel")
        return 200, server.jobs[name]


class FireworksServer(HostedServer):
    handler = FireworksHandler

    def __init__(self):
        super().__init__()
        self.datasets = {}
        self.steps = ["JOB_STATE_CREATING", "JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_COMPLETED"]


class AzureHandler(Handler):
    """learn.microsoft.com/rest/api/azureopenai, version 2024-10-21: OpenAI's paths below /openai, keys in `api-key`."""

    def allowed(self):
        return self.headers.get("api-key") == self.server.key and "api-version=2024-10-21" in self.path

    def work(self, body):
        self.path = re.sub(r"^/openai/(?:deployments/(?P<name>[^/]+)/)?", "/v1/", self.path)
        if self.command == "POST" and urlsplit(self.path).path == "/v1/fine_tuning/jobs":
            asked = json.loads(body)
            if {"metadata", "method"} & set(asked):
                return 400, error("unknown field")
            chosen = {"type": "supervised", "supervised": {"hyperparameters": asked.pop("hyperparameters")}}
            self.server.bodies.append(("jobs", asked))
            return self.server.create_job(asked | {"method": chosen})
        return super().work(body)


class AzureServer(ChatServer):
    handler = AzureHandler

    def __init__(self):
        super().__init__(key="key-of-the-service-7Xq2")
        self.models = {"open-8b"}
        self.wants = "max_tokens"


__all__ = ["ADAPTER", "AzureServer", "FireworksServer", "TogetherServer", "page"]
