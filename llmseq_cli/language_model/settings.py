"""`LocalTuning`: how a model is fine-tuned on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from llmseq_cli.settings import Settings, setting

_LORA_RATE, _FULL_RATE = 1e-4, 2e-3
_LORA_EPOCHS, _SCRATCH_EPOCHS = 5, 20
_BATCH, _SCRATCH_BATCH = 32, 8


@dataclass(frozen=True)
class LocalTuning(Settings):
    """LoRA as Boz et al. fine-tuned Llama (Section 4). The sizes apply to `--model scratch` only."""

    method: str = setting(
        "auto",
        "what is trained: lora, full (all weights), or auto (full for scratch, else lora)",
        choices=("auto", "lora", "full"),
    )
    epochs: int | None = setting(None, "most epochs; none: 5, or 20 for scratch", low=1, high=1000)
    patience: int = setting(
        2, "stop after this many epochs without a better validation loss; 0: never", low=0, high=1000
    )
    batch_size: int | None = setting(None, "examples per step; none: 32, or 8 for scratch", low=1, high=65536)
    tokens_at_once: int = setting(
        8192, "most tokens on the device at a time; larger steps are split", low=64, high=10**8
    )
    learning_rate: float | None = setting(
        None, "peak learning rate; none: 0.0001 for lora, 0.002 for full", low=1e-8, high=1
    )
    rank: int = setting(8, "rank of LoRA's matrices", low=1, high=1024)
    alpha: float = setting(32.0, "scale of LoRA's matrices, divided by the rank", low=0.01, high=10_000)
    dropout: float = setting(0.05, "dropout before LoRA's matrices", low=0, high=0.9)
    modules: str | None = setting(
        None, "layers that LoRA adapts, separated by commas, or all-linear; none: query and value"
    )
    max_length: int = setting(1024, "most tokens per example", low=16, high=131072)
    precision: str = setting(
        "auto", "auto: bfloat16 on GPUs that have it, else float32", choices=("auto", "float32", "bfloat16")
    )
    four_bit: bool = setting(False, "load weights in 4 bits; needs CUDA and bitsandbytes")
    checkpointing: bool = setting(False, "save memory by computing activations twice")
    save_minutes: float = setting(5.0, "minutes between checkpoints", low=0)
    device: str = setting("auto", "where the model runs", choices=("auto", "cpu", "cuda", "mps"))
    dim: int = setting(128, "hidden size of scratch", low=8, high=4096)
    layers: int = setting(2, "layers of scratch", low=1, high=64)
    heads: int = setting(4, "attention heads of scratch", low=1, high=64)
    vocabulary: int = setting(8192, "most tokens in the vocabulary of scratch", low=300, high=200_000)
    title_epochs: int = setting(20, "epochs in which scratch learns titles, before it sees sessions", low=0, high=1000)
    prompt_weight: float | None = setting(
        None, "weight of the loss on the prompt (the answer has 1); none: 0, or 1 for scratch", low=0, high=1
    )

    def rate(self, *, full: bool) -> float:
        return self.learning_rate or (_FULL_RATE if full else _LORA_RATE)

    def weight_of_prompt(self, *, scratch: bool) -> float:
        """A model that knows no language yet learns from the titles in the questions, too."""
        return float(scratch) if self.prompt_weight is None else self.prompt_weight

    def batch(self, *, scratch: bool) -> int:
        return self.batch_size or (_SCRATCH_BATCH if scratch else _BATCH)

    def most_epochs(self, *, scratch: bool) -> int:
        return self.epochs or (_SCRATCH_EPOCHS if scratch else _LORA_EPOCHS)
