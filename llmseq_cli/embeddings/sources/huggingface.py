"""Embeddings from models on this machine, through sentence-transformers."""

from __future__ import annotations

import hashlib
import math
import threading
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmseq_cli.clients.errors import FinalError
from llmseq_cli.devices import resolve_device
from llmseq_cli.embeddings.sources.source import EmbeddingSource, Limits, VectorAnswer
from llmseq_cli.errors import NotInstalledError, UsageError
from llmseq_cli.model_files import SAFE, checked_model, loading_explained, quiet_libraries
from llmseq_cli.settings import Settings, setting

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

_TEXTS_AT_ONCE = 1024
"""Texts per stored block of vectors; the model itself gets `batch_size` at a time."""

_COUNTED_AT_ONCE = 8192
_BATCH_SIZES = {"cuda": 256}
_BATCH_SIZE = 32
_MODEL_FILES = {".json", ".txt", ".model", ".safetensors", ".bin", ".pt"}


@dataclass(frozen=True)
class HuggingFaceSettings(Settings):
    """Where and how the model runs. Half precision is faster on GPUs, and slower on CPUs."""

    device: str = setting("auto", "where the model runs", choices=("auto", "cpu", "cuda", "mps"))
    batch_size: int | None = setting(None, "texts per batch of the model; none: 32, or 256 on cuda", low=1)
    precision: str = setting(
        "auto",
        "precision of the model; auto: bfloat16 (or float16) on cuda, otherwise float32",
        choices=("auto", "float32", "bfloat16", "float16"),
    )


class HuggingFaceSource(EmbeddingSource):
    """A sentence-transformers model from the Hugging Face Hub or a folder, run on this machine.

    A plain transformer without a configuration of sentence-transformers gets mean pooling. Downloaded models need no
    network (HF_HUB_OFFLINE=1 forbids it); code that comes with a model is never run.

    Raises LlmseqError if sentence-transformers is not installed, FinalError if the model cannot be loaded, UsageError
    for impossible dimensions, devices or precisions.
    """

    name: ClassVar[str] = "huggingface"
    remote: ClassVar[bool] = False

    def __init__(
        self,
        model: str | None = None,
        dimensions: int | None = None,
        settings: HuggingFaceSettings | None = None,
    ) -> None:
        asked = model or DEFAULT_MODEL
        self.settings = settings or HuggingFaceSettings()
        _require_library()
        folder = _folder(asked)
        # The fingerprint in `variant` distinguishes folders with the same name.
        self.model = (folder.resolve().name or asked) if folder else asked
        self.folder = str(folder.resolve()) if folder else None
        self.device = resolve_device(self.settings.device)
        precision = _precision(self.settings.precision, self.device)
        self._encoder = _load(str(folder or self.model), self.device, precision)
        width = self._encoder.get_embedding_dimension()
        if dimensions and width and dimensions > width:
            raise UsageError(f"{self.model} has {width} dimensions, not {dimensions}", "leave out --dimensions")
        self.dimensions = None if dimensions == width else dimensions
        self.limits = Limits(_TEXTS_AT_ONCE, tokens_per_text=_longest(self._encoder))
        parts = [_fingerprint(folder)] if folder else []
        self.variant = ", ".join([*parts, *([precision] if precision != "float32" else [])])
        # The model's own prompt before every text takes some of the available length.
        self._prompt: str = self._encoder.prompts.get(self._encoder.default_prompt_name or "") or ""
        self._lock = threading.Lock()  # tokenizers are not thread-safe

    def count_tokens(self, texts: list[str]) -> np.ndarray:
        """Exact, with the model's tokenizer, special tokens and own prompt."""
        counts = np.empty(len(texts), dtype=np.int64)
        with self._lock:
            for start in range(0, len(texts), _COUNTED_AT_ONCE):
                part = [self._prompt + text for text in texts[start : start + _COUNTED_AT_ONCE]]
                counts[start : start + len(part)] = _token_counts(self._encoder.tokenizer, part)
        return counts

    def cut(self, text: str, tokens: int) -> str:
        with self._lock:
            ends = _token_ends(self._encoder.tokenizer, text)
        # Cutting a text can change how its last word is split into tokens, so the prefixes themselves are counted.
        fitting = bisect_right(ends, tokens, key=lambda end: int(self.count_tokens([text[:end]])[0]))
        return text[: ends[fitting - 1]] if fitting else ""

    def embed(self, texts: list[str]) -> VectorAnswer:
        import torch

        batch_size = self.settings.batch_size or _BATCH_SIZES.get(self.device, _BATCH_SIZE)
        try:
            with self._lock:  # the library batches texts of similar length and restores the order
                vectors = self._encoder.encode(
                    texts, batch_size=batch_size, show_progress_bar=False, truncate_dim=self.dimensions
                )
        except torch.OutOfMemoryError:
            raise FinalError(
                f"{batch_size} texts at once need more memory than {self.device} has",
                f"--set batch_size={max(1, batch_size // 4)}, or --set device=cpu",
            ) from None
        return VectorAnswer(np.asarray(vectors, dtype=np.float32))


def _require_library() -> None:
    """Raises LlmseqError if a library that this source needs is not installed."""
    try:
        with quiet_libraries():
            import sentence_transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise NotInstalledError(f"the huggingface source needs the package '{error.name}'", "local") from None


def _folder(model: str) -> Path | None:
    """The folder of a model, None for an id of the hub. Raises FinalError for a missing folder."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or "\\" in model:
        raise FinalError(f"there is no folder '{model}'", "give --model an existing folder or an id of the hub")
    return None


def _precision(wanted: str, device: str) -> str:
    import torch

    if wanted in ("auto", "float32"):
        if wanted == "float32" or device != "cuda":
            return "float32"
        # bfloat16 has the range of float32; models that were trained in it overflow in float16.
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device == "cpu":
        raise UsageError(f"{wanted} is for GPUs, and the model runs on the CPU", "leave out precision")
    return wanted


def _load(model: str, device: str, precision: str) -> SentenceTransformer:
    """The model, ready to encode. Raises FinalError."""
    import torch

    dtype: torch.dtype = getattr(torch, precision)
    hint = "check --model: an id such as BAAI/bge-small-en-v1.5, or a folder; the first use downloads it"
    with loading_explained(model, hint, FinalError), quiet_libraries():
        from sentence_transformers import SentenceTransformer

        folder = str(checked_model(model))
        encoder = SentenceTransformer(folder, device=device, model_kwargs={"use_safetensors": True}, **SAFE)
    return encoder.to(dtype=dtype).eval()


def _longest(encoder: SentenceTransformer) -> int | None:
    """Tokens of a text that the model reads; None if it reads everything."""
    longest = encoder.max_seq_length
    # A tokenizer without a configured length reports 10**30.
    return None if longest is None or not math.isfinite(longest) or longest > 10**9 else int(longest)


def _token_counts(tokenizer: Any, texts: list[str]) -> list[int]:
    if not callable(tokenizer):  # models with one fixed vector per token have a tokenizer of the `tokenizers` library
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    # Without truncation, and without the warning that a text is too long.
    ids = tokenizer(texts, truncation=False, return_attention_mask=False, verbose=False)["input_ids"]
    return [len(row) for row in ids]


def _token_ends(tokenizer: Any, text: str) -> list[int]:
    """Positions where a text can be cut, ascending: after its tokens, or after any character if the tokenizer gives
    none."""
    if not callable(tokenizer):
        offsets = tokenizer.encode(text).offsets
    elif tokenizer.is_fast:
        offsets = tokenizer(text, truncation=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    else:
        offsets = [(place, place + 1) for place in range(len(text))]
    return sorted({end for start, end in offsets if end > start})


def _fingerprint(folder: Path) -> str:
    """BLAKE2b-64 of a model's files: after further training in the same folder, the cache treats it as a new model."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _MODEL_FILES and path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return digest.hexdigest()
