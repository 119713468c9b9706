"""Load models and tokenizers: ids of the Hugging Face hub, folders, adapters on either."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmseq_cli.clients.errors import FinalError
from llmseq_cli.devices import resolve_device
from llmseq_cli.errors import LlmseqError, NotInstalledError
from llmseq_cli.model_files import SAFE, bases_of, loading_explained, quiet_libraries

_PACKAGES = ("transformers", "peft", "tokenizers")


@dataclass(frozen=True)
class Loading:
    """How to load weights. precision: of torch. four_bit: quantised by bitsandbytes, only on CUDA."""

    device: str
    precision: str
    four_bit: bool = False


def require_library() -> None:
    """Raises LlmseqError if a library that local models need is not installed."""
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise NotInstalledError(f"local language models need the package '{package}'", "local")


def make_loading(device: str, precision: str, four_bit: bool) -> Loading:
    """bfloat16 on GPUs that support it, otherwise float32, which is the same on every CPU. Raises LlmseqError if
    something needed is missing."""
    import torch

    device = resolve_device(device)
    if precision == "auto":
        has = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if has else "float32"
    if four_bit and device != "cuda":
        raise LlmseqError("4-bit weights need a CUDA GPU, and there is none", "leave out four_bit")
    if four_bit and find_spec("bitsandbytes") is None:
        raise LlmseqError("4-bit weights need the package 'bitsandbytes'", "pip install bitsandbytes")
    return Loading(device, precision, four_bit)


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model, padding on the left. Raises LlmseqError."""
    with _explained(model), quiet_libraries():
        from transformers import AutoTokenizer

        own, *bases = bases_of(model)
        has_own = (own / "tokenizer_config.json").exists()
        tokenizer = AutoTokenizer.from_pretrained(str(own if has_own or not bases else bases[-1]), **SAFE)
    tokenizer.padding_side = "left"
    if tokenizer.eos_token_id is None:
        raise FinalError(f"the tokenizer of '{model}' has no end-of-text token", "choose another model")
    return tokenizer


def load_model(model: str, loading: Loading) -> Any:
    """A causal language model; adapters are merged into the model that they were trained on. Raises LlmseqError."""
    with _explained(model), quiet_libraries():
        *adapters, whole = bases_of(model)
        loaded = _load_whole(whole, loading)
        for adapter in reversed(adapters):
            from peft import PeftModel

            adapted = PeftModel.from_pretrained(loaded, str(adapter))
            loaded = adapted if loading.four_bit else adapted.merge_and_unload()
    return loaded


def _load_whole(folder: Path, loading: Loading) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    chosen: dict[str, Any] = {"dtype": getattr(torch, loading.precision), "use_safetensors": True, **SAFE}
    if loading.four_bit:
        from transformers import BitsAndBytesConfig

        chosen["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=chosen["dtype"],
        )
        chosen["device_map"] = {"": loading.device}
    loaded: Any = AutoModelForCausalLM.from_pretrained(str(folder), **chosen)
    return loaded if loading.four_bit else loaded.to(loading.device)


def load_config(model: str) -> Any:
    """A model's configuration, without its weights. Raises LlmseqError."""
    with _explained(model), quiet_libraries():
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(str(bases_of(model)[-1]), **SAFE)


def check_folder(model: str) -> None:
    """Raises FinalError for a missing folder; hub ids pass."""
    path = Path(model).expanduser()
    outside_hub = path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or "\\" in model
    if outside_hub and not path.is_dir():
        raise FinalError(
            f"there is no folder '{model}'", "give a model folder, an id of the Hugging Face hub, or scratch"
        )


def _explained(model: str) -> AbstractContextManager[None]:
    hint = "check --model: scratch, a folder, or an id such as Qwen/Qwen3-0.6B; the first use downloads it"
    return loading_explained(model, hint, FinalError)
