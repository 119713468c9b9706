"""Downloaded model folders are data: anything that could run code is refused before a library reads it.

Every model, tokenizer and adapter for Hugging Face's libraries goes through `checked_model`, from a folder or the hub.
It refuses configurations that name code, pickled weights, and anything else that a library would import by a name in a
file. Loaders also pass `SAFE`.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

from llmseq_cli.checksums import MANIFEST, check_checksums
from llmseq_cli.errors import LlmseqError
from llmseq_cli.machine import machine_errors

SAFE: dict[str, Any] = {"trust_remote_code": False}
"""Arguments of every `from_pretrained`: False is explicit, because the libraries would otherwise ask the user."""

_CODE = frozenset((".py", ".pyc", ".pyd", ".so", ".dll", ".dylib"))
_PICKLES = frozenset((".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill"))
_WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
_NOT_WANTED = ["original/*", "onnx/*", "openvino/*", "*/onnx/*", "consolidated*", "*.fp16.safetensors"]
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
"""The tokenizers library reads these as data; they may be large."""

_LARGEST_CONFIG = 8 << 20
_RUNS_CODE = ("auto_map", "auto_mapping", "custom_pipelines", "megatron_config", "trust_remote_code")
_MODULES = frozenset(
    (
        *("Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "Dropout", "StaticEmbedding", "Router", "Asym"),
        *("WeightedLayerPooling", "BoW", "CNN", "LSTM", "WordEmbeddings", "WordWeights", "CLIPModel"),
    )
)
_ACTIVATION = re.compile(r"torch\.nn(\.modules\.(activation|linear))?\.[A-Z]\w*")
_CHANGED = f"make or copy the model again; if you changed it yourself, delete its {MANIFEST}"
_MOST_ADAPTERS = 4  # stacked


def checked_model(model: str) -> Path:
    """The folder with a model's files, checked to contain no code. model: a folder, or an id of the Hugging Face hub,
    from which only needed files are downloaded.

    Raises LlmseqError naming the file if something could run code, or if weights are not in safetensors.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        check_folder_of_model(folder)
        return folder
    snapshot = _snapshot(model)
    _check(snapshot, of_hub=True)
    return snapshot


def check_folder_of_model(folder: Path) -> None:
    """Raises LlmseqError naming the file if a folder contains more than the data of a model."""
    _check(folder, of_hub=False)


def base_of_adapter(folder: Path) -> str | None:
    """The model that a folder's adapter was trained on; None if the folder contains a whole model."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        return None
    base = _read(file).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise LlmseqError(f"{file} does not name the model that the adapter was trained on", "save the adapter again")
    return base


def bases_of(model: str) -> list[Path]:
    """The checked folders of a model: itself and, for an adapter, the models below it, the whole model last."""
    folders = [checked_model(model)]
    while (base := base_of_adapter(folders[-1])) is not None:
        if len(folders) > _MOST_ADAPTERS:
            raise LlmseqError(f"{folders[0]} is an adapter of an adapter of an adapter …", "name a whole model")
        folders.append(checked_model(base))
    return folders


@contextmanager
def loading_explained(model: str, hint: str, error: type[LlmseqError]) -> Iterator[None]:
    """Turn any failure to load a model into an error for users. hint: what to check, if the hub is reachable."""
    try:
        yield
    except LlmseqError:
        raise
    except Exception as failure:  # missing, damaged or wrong files fail in a dozen ways
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        why = " ".join(str(failure).split())[:300] or type(failure).__name__
        told = "HF_HUB_OFFLINE is set: only models already on this machine can be loaded" if offline else hint
        raise error(f"cannot load the model '{model}': {why}", told) from None


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep progress bars, messages and prints of Hugging Face's libraries off the terminal."""
    with redirect_stdout(io.StringIO()):  # stdout is for results
        import transformers
        from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        names = ("transformers", "huggingface_hub", "peft", "sentence_transformers")
        loggers = [logging.getLogger(name) for name in names]
        levels = [logger.level for logger in loggers]
        bars = transformers.utils.logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
        transformers.utils.logging.disable_progress_bar()
        disable_progress_bars()
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if bars[0]:
                transformers.utils.logging.enable_progress_bar()
            if bars[1]:
                enable_progress_bars()


@cache
def _snapshot(model: str) -> Path:
    """The needed files of a hub model, downloaded if they are missing."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(model, allow_patterns=_WANTED, ignore_patterns=_NOT_WANTED))


def _check(folder: Path, *, of_hub: bool) -> None:
    with machine_errors(folder):
        check_checksums(folder, _CHANGED)
        modules = _module_folders(folder)
        for place in [folder, *modules]:
            files = [file for file in place.iterdir() if not file.is_dir()]
            _check_kinds(files, of_hub)
            for file in files:
                if file.suffix == ".json" and file.name not in _VOCABULARIES:
                    _check_json(file)
        _check_weights(folder, bool(modules))


def _module_folders(folder: Path) -> list[Path]:
    """The folders of the modules of a sentence-transformers model. Raises LlmseqError for unknown modules."""
    listed = folder / "modules.json"
    if not listed.is_file():
        return []
    modules = _read(listed, list)
    folders = []
    for module in modules:
        kind, path = (module.get("type"), module.get("path")) if isinstance(module, dict) else (None, None)
        _check_module(kind, listed)
        place = (folder / str(path or "")).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise LlmseqError(f"{listed} names files outside the model's folder: {path!r}", "use another model")
        if place != folder.resolve() and place.is_dir():
            folders += [place, *(one for one in place.rglob("*") if one.is_dir())]
    return folders


def _check_module(kind: Any, file: Path) -> None:
    parts = str(kind).split(".")
    if parts[0] != "sentence_transformers" or len(parts) < 2 or parts[-1] not in _MODULES:
        raise LlmseqError(
            f"{file} asks for code that is not part of sentence-transformers: {kind!r}",
            "llmseq runs no code that comes with a model; use another model",
        )


def _check_kinds(files: list[Path], of_hub: bool) -> None:
    has_weights = any(file.suffix == ".safetensors" for file in files)
    for file in files:
        if not stat.S_ISREG(file.stat().st_mode):
            raise LlmseqError(f"{file} is not a plain file", "remove it from the folder")
        if of_hub and (has_weights or file.suffix in _CODE):
            continue  # other programs may have cached more files, which are never read
        if file.suffix in _CODE:
            raise LlmseqError(
                f"{file} is code, and llmseq runs no code that comes with a model",
                "remove it from the folder if the model works without it",
            )
        if file.suffix in _PICKLES:
            raise LlmseqError(
                f"{file} is a pickle, which can run code; llmseq reads weights in safetensors only",
                "remove it from the folder, and save the weights with safe_serialization=True",
            )


def _check_weights(folder: Path, has_modules: bool) -> None:
    if has_modules or any(folder.glob("*.safetensors")):
        return
    wanted = "adapter_model.safetensors" if (folder / "adapter_config.json").is_file() else "model.safetensors"
    if (folder / "config.json").is_file() or wanted.startswith("adapter"):
        raise LlmseqError(
            f"{folder} has no weights in safetensors ({wanted})",
            "llmseq reads no pickles; use a model that has such a file, or save it with safe_serialization=True",
        )


def _check_json(file: Path) -> None:
    content = _read(file, (dict, list))
    for key, value in _pairs(content):
        if key in _RUNS_CODE and value:
            raise LlmseqError(
                f"{file} asks to run code that comes with the model ({key})",
                "llmseq runs no such code; use a model that transformers supports itself",
            )
        named = value if isinstance(value, str) else ""
        kernel = key.endswith("_implementation") and re.search(r"[/:@]", named)
        activation = key in ("activation_function", "activation_fn") and "." in named
        if kernel or (activation and not _ACTIVATION.fullmatch(named)):
            raise LlmseqError(f"{file} asks for code from another source ({key}: {named[:80]!r})", "use another model")
        if key == "tokenizer_class" and named:
            _check_tokenizer(named, file)
    if file.name == "router_config.json" and isinstance(content, dict):
        for kind in (content.get("types") or {}).values():
            _check_module(kind, file)
    if file.name == "config.json" and isinstance(content, dict) and "model_type" in content:
        _check_model_type(content["model_type"], file)


def _check_tokenizer(name: str, file: Path) -> None:
    import transformers

    if name.startswith("sentence_transformers.") and name.endswith("Tokenizer"):
        return
    if not name.isidentifier() or not hasattr(transformers, name):
        raise LlmseqError(
            f"{file} asks for a tokenizer that transformers does not have: {name[:80]!r}",
            "llmseq runs no code that comes with a model; a newer transformers may know it",
        )


def _check_model_type(name: Any, file: Path) -> None:
    from transformers import CONFIG_MAPPING

    if name not in CONFIG_MAPPING:
        raise LlmseqError(
            f"{file} is of a kind of model that transformers does not have: {str(name)[:80]!r}",
            "llmseq runs no code that comes with a model; a newer transformers may know it",
        )


def _pairs(content: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, at any depth; values in a dict or list below a key also appear under that key."""
    stack: list[tuple[str, Any]] = [("", content)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict):
            for name, one in value.items():
                yield name, one
                stack.append((name, one))
        elif isinstance(value, list):
            for one in value:
                if isinstance(one, str):
                    yield key, one
                else:
                    stack.append((key, one))


def _read(file: Path, kind: Any = dict) -> Any:
    if file.stat().st_size > _LARGEST_CONFIG:
        raise LlmseqError(f"{file} is too large for a configuration", "use another model")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LlmseqError(f"{file} cannot be read: {str(error)[:100]}", "copy the model again") from None
    if not isinstance(content, kind):
        raise LlmseqError(f"{file} does not contain what its name says", "copy the model again")
    return content
