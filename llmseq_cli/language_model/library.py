"""Loading models and tokenizers: ids of the Hugging Face hub, folders, adapters on top of either."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmseq_cli.clients.errors import FinalError
from llmseq_cli.devices import resolve_device
from llmseq_cli.errors import LlmseqError

_PACKAGES = ("transformers", "peft", "tokenizers")


@dataclass(frozen=True)
class Loading:
    """How weights are loaded. precision: of torch. four_bit: quantised by bitsandbytes, on CUDA alone."""

    device: str
    precision: str
    four_bit: bool = False


def require_library() -> None:
    """Raises LlmseqError where what local models are made of is not installed."""
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise LlmseqError(f"local language models need the package '{package}'", "pip install 'llmseq[local]'")


def make_loading(device: str, precision: str, four_bit: bool) -> Loading:
    """bfloat16 on GPUs that have it, else float32, which every CPU computes alike. Raises for what is not there."""
    import torch

    device = resolve_device(device)
    if precision == "auto":
        has = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if has else "float32"
    if four_bit and device != "cuda":
        raise LlmseqError("4-bit weights need a CUDA GPU, and there is none", "leave four_bit out")
    if four_bit and find_spec("bitsandbytes") is None:
        raise LlmseqError("4-bit weights need the package 'bitsandbytes'", "pip install bitsandbytes")
    return Loading(device, precision, four_bit)


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model, padding on the left. Raises FinalError."""
    from_adapter = _base_of_adapter(model)
    with _explained(model), quiet():
        from transformers import AutoTokenizer

        has_own = (Path(model) / "tokenizer_config.json").exists()
        tokenizer = AutoTokenizer.from_pretrained(model if has_own or not from_adapter else from_adapter)
    tokenizer.padding_side = "left"
    if tokenizer.eos_token_id is None:
        raise FinalError(f"the tokenizer of '{model}' has no token that ends a text", "take another model")
    return tokenizer


def load_model(model: str, loading: Loading) -> Any:
    """A causal language model; an adapter is merged into the model that it was trained on. Raises FinalError."""
    import torch

    base = _base_of_adapter(model)
    if base is not None:
        from peft import PeftModel

        with _explained(model), quiet():
            adapted = PeftModel.from_pretrained(load_model(base, loading), model)
            return adapted if loading.four_bit else adapted.merge_and_unload()
    with _explained(model), quiet():
        from transformers import AutoModelForCausalLM

        chosen: dict[str, Any] = {"dtype": getattr(torch, loading.precision)}
        if loading.four_bit:
            from transformers import BitsAndBytesConfig

            chosen["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=chosen["dtype"],
            )
            chosen["device_map"] = {"": loading.device}
        loaded: Any = AutoModelForCausalLM.from_pretrained(model, **chosen)
    return loaded if loading.four_bit else loaded.to(loading.device)


def load_config(model: str) -> Any:
    """A model's configuration, without its weights. Raises FinalError."""
    base = _base_of_adapter(model)
    with _explained(model), quiet():
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(base or model)


def check_folder(model: str) -> None:
    """Raises FinalError for a folder that is not there; ids of the hub pass."""
    path = Path(model).expanduser()
    outside_hub = path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or "\\" in model
    if outside_hub and not path.is_dir():
        raise FinalError(f"there is no folder '{model}'", "give a folder with a model, an id of the hub, or scratch")


def _base_of_adapter(model: str) -> str | None:
    """The model that a folder's adapter was trained on; None where the folder holds a whole model."""
    file = Path(model) / "adapter_config.json"
    if not file.is_file():
        return None
    return str(json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"])


@contextmanager
def _explained(model: str) -> Iterator[None]:
    try:
        yield
    except LlmseqError:
        raise
    except Exception as error:  # files that are missing, torn or of another kind fail in a dozen ways
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        why = " ".join(str(error).split())[:300] or type(error).__name__
        hint = "HF_HUB_OFFLINE is set: only models that are on this machine can be loaded" if offline else ""
        hint = hint or "check --model: scratch, a folder, or an id such as Qwen/Qwen3-0.6B; the first use downloads it"
        raise FinalError(f"cannot load the model '{model}': {why}", hint) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps bars and notes of the libraries off the terminal."""
    import transformers
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub", "peft")]
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
