"""Vertex AI's tuning jobs, through the client of google-cloud-aiplatform over REST."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from llmseq_cli.clients.errors import FinalError, TransientError
from llmseq_cli.clients.retry_after import retry_after, retry_info
from llmseq_cli.clients.vertex import VertexClient, of_reading

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.aiplatform_v1 import GenAiTuningServiceClient
    from google.cloud.aiplatform_v1.types import TuningJob

T = TypeVar("T")

_JOBS_PER_PAGE = 100
_MOST_PAGES = 200
_NO_TUNING_JOB = "is not a tuning job"
_CALL = re.compile(r"^[A-Z]+ \S+: ")  # google-api-core puts the request before the server's words


class TuningJobs:
    """The tuning jobs of a project and region. Every method makes one attempt, and raises the errors of
    `VertexClient.explained`, or BadAnswerError if the answer is not a job.
    """

    def __init__(self, client: VertexClient) -> None:
        self._client = client
        self._body: bytes | None = None

    @cached_property
    def _service(self) -> GenAiTuningServiceClient:
        from google.cloud.aiplatform_v1 import GenAiTuningServiceClient
        from google.cloud.aiplatform_v1.services.gen_ai_tuning_service.transports.rest import (
            GenAiTuningServiceRestTransport,
        )

        class Transport(GenAiTuningServiceRestTransport):
            """Uses REST, which works through proxies and gateways; keeps the body, to show it if it is not a job."""

            def __init__(transport, **given: Any) -> None:  # noqa: N805
                super().__init__(**given)
                transport._session.hooks["response"].append(self._hear)

        scheme, host = _scheme_and_host(self._client)
        transport = Transport(host=host, url_scheme=scheme, credentials=self._client.signed_in[0])
        return GenAiTuningServiceClient(transport=transport)

    def _hear(self, response: Any, *_: Any, **__: Any) -> None:
        self._body = response.content

    @property
    def _parent(self) -> str:
        return f"projects/{self._client.project}/locations/{self._client.location}"

    def create(self, job: TuningJob) -> TuningJob:
        return self._named(
            self._ask(lambda: self._service.create_tuning_job(parent=self._parent, tuning_job=job, **self._once))
        )

    def get(self, name: str) -> TuningJob | None:
        """The job, None if the service does not know it."""
        from google.api_core.exceptions import NotFound

        def call() -> TuningJob | None:
            try:
                return self._service.get_tuning_job(name=name, **self._once)
            except NotFound:
                return None

        job = self._ask(call)
        return None if job is None else self._named(job)

    def all(self) -> Iterator[TuningJob]:
        """All jobs, up to a bound: a server may return the same page forever."""
        from google.cloud.aiplatform_v1.types import ListTuningJobsRequest

        request = ListTuningJobsRequest(parent=self._parent, page_size=_JOBS_PER_PAGE)
        pages = self._ask(lambda: self._service.list_tuning_jobs(request=request, **self._once)).pages
        for _ in range(_MOST_PAGES):
            page = self._ask(lambda: next(pages, None))
            if page is None:
                return
            yield from (job for job in page.tuning_jobs if job.name)

    def cancel(self, name: str) -> None:
        self._ask(lambda: self._service.cancel_tuning_job(name=name, **self._once))

    @property
    def _once(self) -> dict[str, Any]:
        return {"retry": None, "timeout": self._client.timeout}

    def _named(self, job: TuningJob) -> TuningJob:
        if not job.name or not job.state:
            raise self._client.answer(self._body or b"").wrong(_NO_TUNING_JOB, hint="try again")
        return job

    def _ask(self, call: Callable[[], T]) -> T:
        self._body = None
        try:
            return call()
        except Exception as error:  # of google-api-core, google-auth, requests, protobuf
            raise self._explained(error) from None

    def _explained(self, error: Exception) -> Exception:
        import requests
        from google.api_core.exceptions import GoogleAPICallError
        from google.protobuf.json_format import ParseError

        if isinstance(error, GoogleAPICallError):
            return self._explained_call(error)
        if isinstance(error, requests.Timeout):
            return TransientError(f"{self._client.host}: no answer in {self._client.timeout:g} s", lost=True)
        if isinstance(error, ParseError) or of_reading(error):
            if self._body is None:  # nothing was sent
                return FinalError(self._client.scrub(str(error)), "check --model, project and location")
            return self._client.answer(self._body).misread(_NO_TUNING_JOB)
        return self._client.explained(error)

    def _explained_call(self, error: GoogleAPICallError) -> Exception:
        response: Any = error.response
        try:
            document = response.json()
        except (ValueError, AttributeError, RecursionError):
            document = None
        inner = document.get("error") if isinstance(document, dict) else None
        status = inner.get("status") if isinstance(inner, dict) else ""
        wait = retry_after(getattr(response, "headers", None) or {})
        wait = retry_info(document) if wait is None else wait
        said = self._client.scrub(_CALL.sub("", str(error.message)))
        return self._client.explained_status(int(error.code or 500), str(status), said, wait)


def _scheme_and_host(client: VertexClient) -> tuple[str, str]:
    """Scheme and host of the given endpoint, or the region's own. The port must be included: google-api-core would
    append it to the path.
    """
    parts = urlsplit(client.address or "")
    if not parts.hostname:
        region = "" if client.location == "global" else f"{client.location}-"
        return "https", f"{region}aiplatform.googleapis.com"
    port = parts.port or (80 if parts.scheme == "http" else 443)
    return parts.scheme, f"{parts.hostname}:{port}{parts.path}"
