"""Vertex AI on the loopback: gives out access tokens for a service account's signed request, answers `:predict` and
`:embedContent` as Google does, checks what it is asked, and fails on demand.
"""

import json
import re
import time
from collections import Counter
from urllib.parse import parse_qs

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from support.embedding_server import EmbeddingServer, Handler, vector_of

PROJECT = "shop-project"
ACCOUNT = f"embedder@{PROJECT}.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
AUDIENCE = "https://oauth2.googleapis.com/token"  # whatever the token_uri is
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN = "ya29.c.loopback-5Jq0tYv8Zr1m"
WIDTHS = {"gemini-embedding-001": 3072, "text-embedding-005": 768, "gemini-embedding-2": 3072}
_PATH = re.compile(r"/v1beta1/projects/([^/]+)/locations/([^/]+)/publishers/google/models/([^/:]+):(\w+)")


def google_error(code, message, status, details=()):
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def write_service_account(folder, token_uri):
    """A key file of a service account whose tokens come from `token_uri`: (file, its private key, public key)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "k1",
        "private_key": private,
        "client_email": ACCOUNT,
        "client_id": "1",
        "token_uri": token_uri,
    }
    file = folder / "account.json"
    file.write_text(json.dumps(account))
    return file, private, public


class VertexServer(EmbeddingServer):
    """An `EmbeddingServer` that speaks Vertex AI's protocol. `asked` holds (project, location, model, method, body) of
    each request, `tokens_given` counts access tokens; `token_script` holds answers of the token endpoint.
    """

    path = ""
    fault_kinds = ("429", "429 info", "500", "503", "reset", "cut")

    def __init__(self):
        super().__init__(key=TOKEN)
        self.public_key = b""
        self.asked = []
        self.tokens_given = 0
        self.token_script = []
        self.token_lifetime = 3600
        self.tokens_per_text = 2048
        self.statistics = True
        self.widths = dict(WIDTHS)

    @property
    def token_uri(self):
        return f"{self.url}/token"

    def predict(self, model, body):
        """(status, document, texts) for the body of `:predict`."""
        instances, parameters = body.get("instances"), body.get("parameters", {})
        texts = [instance.get("content") for instance in instances]
        most = 1 if model == "gemini-embedding-001" else 250
        if len(texts) > most:
            said = f"{most} instance(s) is allowed per prediction. Actual: {len(texts)}"
            return 400, google_error(400, said, "INVALID_ARGUMENT"), texts
        if not all(isinstance(text, str) and text for text in texts):
            return 400, google_error(400, "The text content is empty.", "INVALID_ARGUMENT"), texts
        refusal = self.refusal(model, texts, parameters.get("outputDimensionality"))
        if refusal:
            return *refusal, texts
        width = parameters.get("outputDimensionality") or self.widths[model]
        predictions = []
        for text in texts:
            embeddings = {"values": self.values(text, width)}
            if self.statistics:
                embeddings["statistics"] = {"truncated": False, "token_count": float(len(text.split()))}
            predictions.append({"embeddings": embeddings})
        characters = sum(len(text) for text in texts)
        return 200, {"predictions": predictions, "metadata": {"billableCharacterCount": characters}}, texts

    def embed_content(self, model, body):
        """(status, document, texts) for the body of `:embedContent`."""
        texts = [part["text"] for part in body["content"]["parts"]]
        width = body.get("embedContentConfig", {}).get("outputDimensionality")
        refusal = self.refusal(model, texts, width)
        if refusal:
            return *refusal, texts
        document = {"embedding": {"values": self.values(texts[0], width or self.widths[model])}}
        return 200, document | {"usageMetadata": {"promptTokenCount": len(texts[0].split())}}, texts

    def values(self, text, width):
        vector = vector_of(text, width)
        return np.asarray(self.broken.get(text, lambda v: v)(vector), dtype=np.float64).tolist()

    def refusal(self, model, texts, width):
        if model not in self.widths:
            return 404, google_error(404, f"Publisher Model `{model}` was not found", "NOT_FOUND")
        if width and width > self.widths[model]:
            return 400, google_error(400, "outputDimensionality is out of range", "INVALID_ARGUMENT")
        counts = [len(text.split()) for text in texts]
        if max(counts) > self.tokens_per_text or sum(counts) > 20_000:
            said = f"the input token count is {max(counts)} but the model supports up to {self.tokens_per_text}"
            return 400, google_error(400, f"Unable to submit request because {said}", "INVALID_ARGUMENT")
        if any(word in text for text in texts for word in self.forbidden):
            return 400, google_error(400, "The content was blocked", "INVALID_ARGUMENT")
        return None


class VertexHandler(Handler):
    def do_POST(self):  # noqa: N802
        body = self.body()
        if self.path == "/token":
            self.token(body)
            return
        match = _PATH.fullmatch(self.path)
        if not match:
            self.answer(404, google_error(404, f"no such path {self.path}", "NOT_FOUND"))
        elif self.allowed():
            self.embeddings(match, json.loads(body))

    def token(self, body):
        server = self.server
        if server.token_script:
            self.answer(*server.token_script.pop(0))
            return
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        try:  # raises ValueError for a wrong signature, time or audience
            claims = jwt.decode(asked["assertion"], certs=server.public_key, audience=AUDIENCE)
            sound = (claims["iss"], claims["scope"]) == (ACCOUNT, SCOPE) and asked["grant_type"] == GRANT
        except (ValueError, KeyError):
            sound = False
        if not sound:
            self.answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
            return
        server.tokens_given += 1
        self.answer(200, {"access_token": TOKEN, "expires_in": server.token_lifetime, "token_type": "Bearer"})

    def allowed(self):
        server = self.server
        with server.lock:
            server.requests.append((self.command, self.path))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            said = f"Request had invalid authentication credentials: {self.headers.get('Authorization')}"
            self.answer(401, google_error(401, said, "UNAUTHENTICATED"))
            return False
        return True

    def embeddings(self, match, body):
        server = self.server
        project, location, model, method = match.groups()
        with server.lock:
            server.asked.append((project, location, model, method, body))
        fault = server.next_fault()
        time.sleep(server.latency)
        if isinstance(fault, tuple):
            return self.answer(*fault)
        if fault:
            server.faults[fault] += 1
        if fault in ("429", "429 info"):
            return self.exhausted(with_header=fault == "429")
        if fault in ("500", "503"):
            status = "INTERNAL" if fault == "500" else "UNAVAILABLE"
            return self.answer(int(fault), google_error(int(fault), "try again", status))
        if fault == "reset":
            return self.reset()
        ask = server.predict if method == "predict" else server.embed_content
        status, document, texts = ask(model, body)
        if fault == "few" and status == 200:
            document["predictions"].pop()
        if self.answer(status, document, cut=fault == "cut") and status == 200:
            with server.lock:
                server.paid.update(Counter(texts))
            server.after_answer()

    def exhausted(self, with_header):
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.03s"}
        document = google_error(429, "Resource exhausted", "RESOURCE_EXHAUSTED", [] if with_header else [info])
        return self.answer(429, document, {"retry-after": "0.03"} if with_header else {})


VertexServer.handler = VertexHandler
