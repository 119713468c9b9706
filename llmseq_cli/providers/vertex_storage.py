"""Training files in Cloud Storage, where Vertex AI reads them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from llmseq_cli.clients.errors import FinalError, TransientError, UnreachableError, never_connected
from llmseq_cli.errors import UsageError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from llmseq_cli.clients.vertex import VertexClient

_FOLDER = "llmseq"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_NEEDED = "the account needs the role 'Storage Object User' for the bucket"


class TrainingBucket:
    """A bucket, and a folder in it, for training files.

    place: "gs://BUCKET", "BUCKET" or "gs://BUCKET/FOLDER". Raises UsageError for what is none of these.
    $STORAGE_EMULATOR_HOST is honoured, as Google's client does.
    """

    def __init__(self, place: str, timeout: float) -> None:
        name, _, folder = place.removeprefix("gs://").partition("/")
        if not _BUCKET.fullmatch(name):
            raise UsageError(f"'{place}' is no bucket of Cloud Storage", "--set bucket=gs://my-bucket")
        self.name, self.folder, self.timeout = name, folder.strip("/") or _FOLDER, timeout

    def upload(self, file: Path, name: str, client: VertexClient) -> str:
        """Uploads a file, unless one of this name and size is there; → its gs:// address.

        One attempt: TransientError for what may pass, FinalError for the rest. A file that was sent in part only is not
        there: Cloud Storage shows an object when all of it has come.
        """
        try:
            return self._upload(file, name, client.signed_in[0], client.project)
        except Exception as error:  # of google-cloud-storage, google-auth, google-resumable-media, requests
            raise self._explained(error, client) from None

    def _upload(self, file: Path, name: str, credentials: Credentials, project: str) -> str:
        from google.api_core.exceptions import PreconditionFailed
        from google.cloud.storage import Client

        bucket = Client(project=project, credentials=credentials).bucket(self.name)
        path = f"{self.folder}/{name}"
        there = bucket.get_blob(path, timeout=self.timeout, retry=None)
        if there is None or there.size != file.stat().st_size:
            generation = 0 if there is None else there.generation
            try:
                bucket.blob(path).upload_from_filename(
                    str(file),
                    content_type="application/jsonl",
                    if_generation_match=generation,  # what a lost answer was about is not written over
                    timeout=self.timeout,
                    retry=None,
                )
            except PreconditionFailed:
                raise TransientError("the file has just been uploaded by another call") from None
        return f"gs://{self.name}/{path}"

    def _explained(self, error: Exception, client: VertexClient) -> Exception:
        import requests
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError
        from google.resumable_media import DataCorruption, InvalidResponse

        if isinstance(error, (TransientError, FinalError)):
            return error
        if isinstance(error, GoogleAuthError):
            return client.explained(error)
        said = client.scrub(str(error))
        if never_connected(error):
            return UnreachableError(f"Cloud Storage: no connection ({said})")
        if isinstance(error, (GoogleAPICallError, InvalidResponse)):
            code = error.response.status_code if isinstance(error, InvalidResponse) else error.code
            return self._explained_status(int(code or 500), said)
        if isinstance(error, (requests.RequestException, DataCorruption, OSError)):
            return TransientError(f"Cloud Storage: {said}")
        if isinstance(error, ValueError):  # a body that is no JSON
            return TransientError("the answer of Cloud Storage is cut off")
        return error

    def _explained_status(self, code: int, said: str) -> Exception:
        if code in (408, 425, 429) or code >= 500:
            return TransientError(f"Cloud Storage: {code} {said}")
        if code == 404:
            return FinalError(
                f"there is no bucket {self.name}", f"make it with `gcloud storage buckets create gs://{self.name}`"
            )
        if code in (401, 403):
            return FinalError(f"Cloud Storage denies access to {self.name}: {said}", _NEEDED)
        return FinalError(f"Cloud Storage does not take the file: {said}", "check the bucket")
