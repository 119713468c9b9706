"""Embeddings through OpenAI's Batch API: half the price, done within a day, nothing lost in between.

Each batch is recorded before the upload (prepared), before the service is asked to accept it (uploaded), and after it
has (submitted). A batch that is only prepared was never submitted. For one that is only uploaded, we ask the service by
the token in its metadata: the program may have been killed before the answer arrived. Answers are matched by
`custom_id`, which numbers the requests of a batch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from llmseq_cli.clients.answers import Answer, fitting
from llmseq_cli.clients.errors import BadAnswerError, FinalError, TransientError, UnreachableError, never_connected
from llmseq_cli.clients.openai_answers import BatchLine, BatchResponse, BatchState, File
from llmseq_cli.clients.retries import Patience, patiently
from llmseq_cli.clients.vector_answers import openai_vectors_in
from llmseq_cli.embeddings.batch_store import BatchStore, StoredBatch
from llmseq_cli.embeddings.cache import TextVectorCache
from llmseq_cli.embeddings.fetch import Usage, fill
from llmseq_cli.embeddings.plan import EmbeddingPlan
from llmseq_cli.embeddings.sources.openai import OpenAISource
from llmseq_cli.errors import LlmseqError
from llmseq_cli.progress import Progress

T = TypeVar("T")

_TEXTS_PER_BATCH = 50_000  # the API's limit for embeddings
_TEXTS_PER_REQUEST = 500
_TEXTS_PER_COMMIT = 4_000
_ROUNDS = 3
_POLL_SECONDS = 30.0
_DONE = ("completed", "expired", "cancelled")
_REFUSED = (400, 413, 422)
_NO_SUCH_THING = (404, 405, 501)


@dataclass(frozen=True)
class BatchOptions:
    """usd_per_token: in the batch service, None if unknown. wait: poll until no batch is open."""

    usd_per_token: float | None
    max_cost: float | None
    wait: bool
    poll_seconds: float = _POLL_SECONDS


class BatchRun:
    """Gets the vectors of a plan into the cache through the batch service.

    make_plan: returns the current plan. Failed calls are repeated under the one retry policy.
    """

    def __init__(
        self,
        source: OpenAISource,
        cache: TextVectorCache,
        store: BatchStore,
        dataset_id: int,
        make_plan: Callable[[], EmbeddingPlan],
        options: BatchOptions,
        progress: Progress,
        patience: Patience | None = None,
    ) -> None:
        self.source, self.cache, self.store, self.dataset_id = source, cache, store, dataset_id
        self.make_plan, self.options, self.progress = make_plan, options, progress
        self.patience = patience or Patience()
        self.usage = Usage()
        self.reached = False
        self.in_doubt = False  # whether the service may have accepted the batch being submitted

    def run(self) -> dict[str, Any] | None:
        """Collect finished batches and submit missing texts. Return what is open, None if nothing is."""
        _ = self.source.client.sdk  # fails without a key, before anything is prepared
        while True:
            self._look_after_all(self._fail)
            self._submit_missing()
            under_way = self.store.open_batches()
            if not under_way:
                return None
            texts = sum(batch.texts for batch in under_way)
            if not self.options.wait:
                return {
                    "under_way": texts,
                    "batches": len(under_way),
                    "collected": self.usage.texts,
                    "next": "llmseq embed --resume, with the same --text and --model, within a day",
                }
            self.progress.message(f"waiting for {texts:,} texts in {len(under_way)} batches")
            time.sleep(self.options.poll_seconds)

    def settle(self) -> int:
        """Collect finished batches, submit nothing. Return how many texts are still in open batches."""
        self._look_after_all(self.progress.warn)
        return sum(batch.texts for batch in self.store.open_batches())

    def _look_after_all(self, fail: Callable[[str], None]) -> None:
        self.store.drop_prepared()
        for batch in self.store.open_batches():
            try:
                self._look_after(batch, fail)
            except FinalError as error:
                way_out = f"`llmseq embeddings --forget {batch.number}` drops batch {batch.number}"
                raise FinalError(error.message, f"{error.hint}; {way_out}" if error.hint else way_out) from None

    def _fail(self, said: str) -> None:
        raise FinalError(said, "check --model and the account's limits")

    def _look_after(self, batch: StoredBatch, fail: Callable[[str], None]) -> None:
        """Process one batch: find it again, collect it, or release its texts."""
        remote = self._remote(batch)
        if remote is None:
            self.store.update(batch, "lost")
            if batch.state == "submitted":
                self.progress.warn(f"the server no longer knows {batch.batch_id}; its texts are sent again")
        elif remote.status in _DONE:
            self._collect(batch, remote)
            self.store.update(batch, "collected")
        elif remote.status == "failed":
            self.store.update(batch, "failed")
            said = "; ".join(map(self.source.client.scrub, remote.said[:3])) or "no reason given"
            fail(f"the server did not accept batch {remote.id}: {said}")

    def _remote(self, batch: StoredBatch) -> BatchState | None:
        """The batch at the service, None if the service does not know it or has no batches at all."""
        if batch.batch_id is None:
            found = self._call(lambda: _unless_missing(lambda: self._find(batch.token)))
            if found is not None:
                self.store.update(batch, "submitted", batch_id=found.id)
            return found
        return self._call(lambda: _unless_missing(lambda: self._retrieve(str(batch.batch_id))))

    def _retrieve(self, batch_id: str) -> BatchState | None:
        return self._read(self._batches.retrieve(batch_id))

    def _find(self, token: str) -> BatchState | None:
        """The account's batch with our token; the search starts with the newest."""
        for remote in self.source.client.pages(self._batches.list, BatchState):
            if remote.metadata.get("llmseq") == token:
                return remote
        return None

    @property
    def _batches(self) -> Any:
        return self.source.client.sdk.batches.with_raw_response

    def _read(self, raw: Any) -> BatchState:
        return self.source.client.answer(raw).read(BatchState, "is not a batch")

    def _submit_missing(self) -> None:
        """Submit texts that have no vector and are in no open batch; those of refused requests one by one."""
        plan = self.make_plan()
        histories = self.store.histories()
        batches: list[list[np.ndarray]] = []
        together: list[int] = []
        alone: list[int] = []
        for place, text in enumerate(plan.to_send):
            history = histories.get(plan.hashes[text])
            if history is not None and history.under_way:
                continue
            if history is not None and history.collected >= _ROUNDS:
                raise LlmseqError(
                    f"the batch service failed {_ROUNDS} times for '{plan.texts[text][:60]}'",
                    "run the command without --batch to see why",
                )
            (alone if history is not None and history.refused else together).append(place)
        self._check_cost(int(plan.tokens[[*together, *alone]].sum()))
        requests = self._requests(plan, np.array(together, dtype=np.int64)) + [np.array([place]) for place in alone]
        filled = _TEXTS_PER_BATCH
        for request in requests:
            if filled + len(request) > _TEXTS_PER_BATCH:
                batches.append([])
                filled = 0
            batches[-1].append(request)
            filled += len(request)
        for batch in batches:
            self._submit(plan, [plan.to_send[request] for request in batch])

    def _requests(self, plan: EmbeddingPlan, places: np.ndarray) -> list[np.ndarray]:
        limits = self.source.limits
        n_texts = min(_TEXTS_PER_REQUEST, limits.texts_per_request)
        return [places[part] for part in fill(plan.tokens[places], n_texts, limits.tokens_per_request)]

    def _check_cost(self, tokens: int) -> None:
        price, most = self.options.usd_per_token, self.options.max_cost
        if price is not None and most is not None and (tokens + self.usage.tokens) * price > most:
            raise LlmseqError(
                f"the texts may cost {tokens * price:.4g} USD, more than --max-cost {most:g}",
                "nothing was sent; give a larger --max-cost",
            )

    def _submit(self, plan: EmbeddingPlan, requests: list[np.ndarray]) -> None:
        """Upload and submit one batch of requests, each given as places of texts."""
        self.cache.register()
        batch = self.store.prepare(self.dataset_id, [[plan.hashes[text] for text in request] for request in requests])
        lines = "\n".join(
            json.dumps(self._line(number, [plan.texts[text] for text in request]))
            for number, request in enumerate(requests)
        )
        name = f"llmseq-{batch.token}.jsonl"
        content = (name, lines.encode("utf-8", "surrogatepass"))
        try:
            file = self._call(lambda: self._upload(content))
            self.store.update(batch, "uploaded", file_id=file.id)
            remote = self._call(lambda: self._create_once(file.id, batch.token))
        except Exception as error:
            if not self.in_doubt:  # it was not accepted, so its texts are not in an open batch
                self.store.update(batch, "failed")
            raise error from None
        self.in_doubt = False
        self.store.update(batch, "submitted", batch_id=remote.id)
        self.progress.message(f"submitted {batch.texts:,} texts as {remote.id}")

    def _create_once(self, file_id: str, token: str) -> BatchState:
        """Submit a batch; before a retry, check whether it exists, so that a lost answer is not paid for twice."""
        import openai

        found = self._find(token) if self.in_doubt else None
        if found is not None:
            return found
        self.in_doubt = True
        try:
            return self._create(file_id, token)
        except openai.APIStatusError as error:
            self.in_doubt = error.status_code in (408, 409) or error.status_code >= 500
            raise
        except openai.APIConnectionError as error:
            self.in_doubt = not never_connected(error)
            raise

    def _create(self, file_id: str, token: str) -> BatchState:
        made = self._batches.create(
            input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h", metadata={"llmseq": token}
        )
        return self._read(made)

    def _upload(self, file: tuple[str, bytes]) -> File:
        made = self.source.client.sdk.files.with_raw_response.create(file=file, purpose="batch")
        return self.source.client.answer(made).read(File, "has no file")

    def _line(self, number: int, texts: list[str]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.source.model, "input": texts, "encoding_format": "base64"}
        if self.source.dimensions is not None:
            body["dimensions"] = self.source.dimensions
        return {"custom_id": str(number), "method": "POST", "url": "/v1/embeddings", "body": body}

    def _collect(self, batch: StoredBatch, remote: BatchState) -> None:
        """Store the answers of a finished batch, and record refusals. It is safe to repeat this."""
        requests = self.store.requests(batch)
        if remote.output_file_id:
            self._call(lambda: self._keep_answers(requests, str(remote.output_file_id)))
        if remote.error_file_id:
            self._call(lambda: self._note_errors(batch, requests, str(remote.error_file_id)))

    def _keep_answers(self, requests: list[list[str]], file_id: str) -> None:
        known = self.cache.known([digest for hashes in requests for digest in hashes])
        first = np.concatenate([[0], np.cumsum([len(hashes) for hashes in requests])])
        kept: list[tuple[list[str], np.ndarray, int]] = []
        for number, response in self._entries(requests, file_id):
            hashes = requests[number]
            if known[first[number] : first[number + 1]].all() or response.status_code != 200:
                continue
            found = openai_vectors_in(response.body, len(hashes), self.source.width or self.cache.width())
            # Texts without a valid vector are sent again. A request that occurs twice, or a file read twice, counts
            # once.
            fresh = [row for row, place in enumerate(found.places) if not known[first[number] + place]]
            if not fresh:
                continue
            known[first[number] + found.places] = True
            kept.append(([hashes[found.places[row]] for row in fresh], found.vectors[fresh], found.tokens or 0))
            if sum(len(hashes) for hashes, _, _ in kept) >= _TEXTS_PER_COMMIT:
                self._keep(kept)
                kept = []
        self._keep(kept)

    def _keep(self, kept: list[tuple[list[str], np.ndarray, int]]) -> None:
        if not kept:
            return
        price = self.options.usd_per_token
        requests = [(len(hashes), tokens, None if price is None else tokens * price) for hashes, _, tokens in kept]
        hashes = [digest for hashes, _, _ in kept for digest in hashes]
        self.cache.keep(self.dataset_id, hashes, np.concatenate([vectors for _, vectors, _ in kept]), requests)
        self.usage.texts += len(hashes)
        self.usage.requests += len(kept)
        self.usage.tokens += sum(tokens for _, _, tokens in kept)

    def _note_errors(self, batch: StoredBatch, requests: list[list[str]], file_id: str) -> None:
        """Texts of refused requests are sent alone next time; a text that was alone is set aside."""
        for number, response in self._entries(requests, file_id):
            if response.status_code not in _REFUSED:
                continue
            if len(requests[number]) > 1:
                self.store.mark_refused(batch, number)
                continue
            said = self.source.client.scrub(response.refusal)
            digest = requests[number][0]
            if not self.cache.refused([digest]):
                plan = self.make_plan()
                text = plan.texts[plan.hashes.index(digest)] if digest in plan.hashes else ""
                self.cache.set_aside([(digest, text, said)])
                self.progress.warn(f"refused: '{text[:60]}': {said}")

    def _entries(self, requests: list[list[str]], file_id: str) -> Iterator[tuple[int, BatchResponse]]:
        """(number of the request, response) of each valid line of an answer file."""
        client = self.source.client
        with client.sdk.files.with_streaming_response.content(file_id) as answer:
            for line in answer.iter_lines():
                if not line.strip():
                    continue
                try:
                    document = Answer(client.host, line.encode("utf-8", "surrogatepass"), client.scrub).document()
                except BadAnswerError:
                    continue
                entry = fitting(BatchLine, document)
                number = entry.custom_id if entry else ""
                if entry and number.isascii() and number.isdigit() and len(number) < 9 and int(number) < len(requests):
                    yield int(number), entry.response

    def _call(self, function: Callable[[], T]) -> T:
        """Call the server under the one retry policy."""
        import openai

        def call() -> T:
            try:
                done = function()
            except openai.OpenAIError as error:
                explained = _final_where_refused(self.source.client.explained(error, self.source.model))
                self.reached |= not isinstance(explained, UnreachableError)
                raise explained from None
            self.reached = True
            return done

        def tell(note: str, _: float) -> None:
            self.progress.message(note)

        return patiently(call, self.patience, time.sleep, tell, lambda: self.reached)


def _unless_missing(call: Callable[[], T]) -> T | None:
    """The result of the call, None if the server does not know the batch, or has no batches."""
    import openai

    try:
        return call()
    except openai.APIStatusError as error:
        if error.status_code in _NO_SUCH_THING:
            return None
        raise


def _final_where_refused(error: Exception) -> Exception:
    """Make a refusal final: no single text is to blame for a refused upload or batch."""
    if isinstance(error, TransientError):
        return error
    said = error.message if isinstance(error, FinalError) else f"the server does not accept the batch: {error}"
    if isinstance(error, FinalError) and not said.startswith(tuple(map(str, _NO_SUCH_THING))):
        return error
    return FinalError(said, "run the command without --batch if the server has no batch service")
