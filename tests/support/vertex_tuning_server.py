"""Vertex AI's tuning and answering, and Cloud Storage, on the loopback: checks requests, and fails on demand."""

import base64
import json
import re
import time
from collections import Counter
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
from google.cloud.aiplatform_v1.types import TuningJob
from support.vertex_server import PROJECT, TOKEN, VertexHandler, VertexServer, google_error

_PLACE = r"/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)"
_JOBS = re.compile("/v1" + _PLACE + r"/tuningJobs(?:/(?P<number>\d+)(?P<cancel>:cancel)?)?")
_ANSWER = re.compile("/v1beta1" + _PLACE + r"/(?P<model>endpoints/\d+|publishers/google/models/[^/:]+):generateContent")
_OBJECT = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)")
_UPLOAD = re.compile(r"/upload/storage/v1/b/(?P<bucket>[^/]+)/o")

FAULTS = ("429", "500", "503", "reset", "cut", "reset after", "500 after")


class VertexTuningServer(VertexServer):
    """`answer(question, sample)` makes an answer. Objects are kept as {gs:// address: bytes}, jobs by their names.
    `fault_share` of the requests fail, half of them after their work is done. `paid` counts answers by question.
    """

    def __init__(self, buckets=("shop-bucket",)):
        super().__init__()
        self.buckets = set(buckets)
        self.objects, self.sessions, self.uploads = {}, {}, Counter()
        self.jobs, self.bodies = {}, []
        self.models = {"gemini-3.5-flash"}
        self.states = ["JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]
        self.answer = lambda question, sample: "nothing"
        self.forbidden = ()
        self.thinks = self.refuses_candidates = False
        self.finish = "STOP"
        self.paid = Counter()
        self.after = lambda path: None

    # What the paths do: (status, document).

    def create_job(self, place, asked):
        spec = asked["supervisedTuningSpec"]
        if asked["baseModel"] not in self.models:
            return 404, google_error(404, f"Base model {asked['baseModel']} is not supported", "NOT_FOUND")
        for key in ("trainingDatasetUri", "validationDatasetUri"):
            if key in spec and spec[key] not in self.objects:
                return 400, google_error(400, f"{key} {spec[key]} does not exist", "FAILED_PRECONDITION")
        wrong = wrong_lines(self.objects[spec["trainingDatasetUri"]])
        if wrong:
            return 400, google_error(400, wrong, "INVALID_ARGUMENT")
        with self.lock:
            name = f"{place}/tuningJobs/{len(self.jobs)}"
            self.jobs[name] = {
                "name": name, "state": self.states[0], "baseModel": asked["baseModel"], "supervisedTuningSpec": spec,
                "labels": asked.get("labels"), "tunedModelDisplayName": asked.get("tunedModelDisplayName"),
                "createTime": "2026-01-01T00:00:00Z",
            }  # fmt: skip
        return 200, self.jobs[name]

    def poll(self, name):
        """Each look takes a job a step further."""
        job = self.jobs[name]
        if job["state"] in self.states[:-1]:
            job["state"] = self.states[self.states.index(job["state"]) + 1]
        if job["state"] == "JOB_STATE_RUNNING":
            job["tuningJobState"] = "TUNING_JOB_STATE_TUNING"
        if job["state"] == "JOB_STATE_SUCCEEDED" and "tunedModel" not in job:
            place, number = name.split("/tuningJobs/")
            job["tunedModel"] = {"model": f"{place}/models/{number}@1", "endpoint": f"{place}/endpoints/{number}"}
            words = len(self.objects[job["supervisedTuningSpec"]["trainingDatasetUri"]].split())
            job["tuningDataStats"] = {"supervisedTuningDataStats": {"totalBillableTokenCount": str(words)}}
            self.models.add(f"endpoints/{number}")
        if job["state"] == "JOB_STATE_FAILED":
            job["error"] = {"code": 3, "message": "the examples are too dull"}
        return 200, job

    def generate(self, model, asked):
        if model not in self.models:
            return 404, google_error(404, f"Publisher Model `{model}` was not found", "NOT_FOUND")
        config = asked["generationConfig"]
        if self.thinks and "thinkingConfig" in config:
            return 400, google_error(400, "Thinking budget 0 is not supported for this model", "INVALID_ARGUMENT")
        n = config.get("candidateCount", 1)
        if n > 8 or (n > 1 and self.refuses_candidates):
            return 400, google_error(400, "Multiple candidates is not enabled for this model", "INVALID_ARGUMENT")
        [turn] = asked["contents"]
        question = turn["parts"][0]["text"]
        if any(word in question for word in self.forbidden):
            return 200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        candidates = []
        for index in range(n):
            with self.lock:
                sample = self.paid[question]
                self.paid[question] += 1
            said = {"role": "model", "parts": [{"text": self.answer(question, sample)}]}
            candidates.append({"index": index, "content": said, "finishReason": self.finish})
        words = sum(len(one["content"]["parts"][0]["text"].split()) for one in candidates)
        usage = {"promptTokenCount": len(question.split()), "candidatesTokenCount": words}
        return 200, {"candidates": candidates, "usageMetadata": usage}

    def store(self, bucket, name, content, generation):
        address = f"gs://{bucket}/{name}"
        if generation == 0 and address in self.objects:
            return 412, google_error(412, "At least one of the pre-conditions you specified did not hold.", "")
        with self.lock:
            self.objects[address] = content
            self.uploads[address] += 1
        return 200, self.described(address)

    def described(self, address):
        content = self.objects[address]
        bucket, _, name = address.removeprefix("gs://").partition("/")
        crc = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        return {"kind": "storage#object", "name": name, "bucket": bucket, "size": str(len(content)),
                "generation": str(self.uploads[address]), "crc32c": crc}  # fmt: skip


def strict_job(body):
    """A job as it is sent, in Google's own names: raises for fields and values that the service does not know."""
    job = TuningJob.from_json(body, ignore_unknown_fields=False)
    return json.loads(TuningJob.to_json(job, use_integers_for_enums=False, always_print_fields_with_no_presence=False))


def wrong_lines(content):
    for line in content.decode().splitlines():
        example = json.loads(line)
        roles = [turn["role"] for turn in example["contents"]]
        if roles != ["user", "model"] or not all(turn["parts"][0]["text"] for turn in example["contents"]):
            return f"roles are {roles}"
        if set(example) - {"systemInstruction", "contents"}:
            return f"unknown fields in {sorted(example)}"
    return None


class TuningHandler(VertexHandler):
    def do_GET(self):  # noqa: N802
        self.serve(b"")

    def do_PUT(self):  # noqa: N802
        self.serve(self.body())

    def do_POST(self):  # noqa: N802
        body = self.body()
        if self.path == "/token":
            self.token(body)
        else:
            self.serve(body)

    def serve(self, body):
        server = self.server
        if not self.allowed():
            return None
        fault = server.next_fault() if server.script or server.fault_share else None
        if isinstance(fault, tuple):
            return self.answer(*fault)
        if fault:
            server.faults[fault] += 1
        if fault == "429":
            return self.exhausted(with_header=server.faults["429"] % 2 == 0)
        if fault in ("500", "503"):
            return self.answer(int(fault), google_error(int(fault), "try again", "UNAVAILABLE"))
        if fault == "reset":
            return self.reset()
        time.sleep(server.latency)
        status, document, *headers = self.work(body)
        server.after(self.path)
        if fault == "reset after":
            return self.reset()
        if fault == "500 after":
            return self.answer(500, google_error(500, "try again", "INTERNAL"))
        return self.answer(status, document, headers[0] if headers else {}, cut=fault == "cut")

    def work(self, body):
        address = urlsplit(self.path)
        for pattern, work in ((_JOBS, self.job), (_ANSWER, self.generated), (_OBJECT, self.object)):
            match = pattern.fullmatch(address.path)
            if match:
                return work(match, body)
        match = _UPLOAD.fullmatch(address.path)
        if match:
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            return self.uploaded(unquote(match["bucket"]), asked, body)
        return 404, google_error(404, f"no such path {self.path}", "NOT_FOUND")

    def job(self, match, body):
        server = self.server
        place = f"projects/{match['project']}/locations/{match['location']}"
        name = f"{place}/tuningJobs/{match['number']}"
        if match["project"] != PROJECT:
            return 403, google_error(403, f"Permission denied on {match['project']}", "PERMISSION_DENIED")
        if self.command == "POST" and match["number"] is None:
            asked = strict_job(body)
            server.bodies.append((urlsplit(self.path).path, asked))
            return server.create_job(place, asked)
        if match["number"] is None:
            return 200, {"tuningJobs": list(server.jobs.values())[::-1]}
        if name not in server.jobs:
            return 404, google_error(404, f"{name} was not found", "NOT_FOUND")
        if match["cancel"]:
            server.jobs[name]["state"] = "JOB_STATE_CANCELLED"
            return 200, {}
        return server.poll(name)

    def generated(self, match, body):
        self.server.bodies.append((self.path, json.loads(body)))
        return self.server.generate(match["model"].removeprefix("publishers/google/models/"), json.loads(body))

    def object(self, match, body):
        bucket, address = unquote(match["bucket"]), f"gs://{unquote(match['bucket'])}/{unquote(match['name'])}"
        if bucket not in self.server.buckets:
            return 404, google_error(404, "The specified bucket does not exist.", "")
        if address not in self.server.objects:
            return 404, google_error(404, "No such object", "")
        return 200, self.server.described(address)

    def uploaded(self, bucket, asked, body):
        """In one request, or resumably: a first request that names the object, then its content."""
        server = self.server
        generation = int(asked.get("ifGenerationMatch", -1))
        if bucket not in server.buckets:
            return 404, google_error(404, "The specified bucket does not exist.", "")
        if asked["uploadType"] == "multipart":
            boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
            _, described, content, _ = body.split(b"--" + boundary)
            content = content.partition(b"\r\n\r\n")[2][:-2]
            return server.store(bucket, json.loads(described.partition(b"\r\n\r\n")[2])["name"], content, generation)
        if self.command == "POST":
            session = str(len(server.sessions))
            server.sessions[session] = (asked.get("name") or json.loads(body)["name"], generation, b"")
            place = f"{server.url}{urlsplit(self.path).path}?uploadType=resumable&upload_id={session}"
            return 200, {}, {"Location": place}
        name, generation, held = server.sessions[asked["upload_id"]]
        server.sessions[asked["upload_id"]] = (name, generation, held + body)
        end, total = re.fullmatch(r"bytes \d+-(\d+)/(\d+|\*)", self.headers["Content-Range"]).groups()
        if total == "*" or int(end) + 1 < int(total):
            return 308, {}, {"Range": f"bytes=0-{end}"}
        return server.store(bucket, name, held + body, generation)


VertexTuningServer.handler = TuningHandler

__all__ = ["FAULTS", "PROJECT", "TOKEN", "VertexTuningServer"]
