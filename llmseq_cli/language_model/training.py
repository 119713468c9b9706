"""Fine-tuning: one loop for LoRA's matrices and for all weights, with the loss on the answers.

An interrupted run ends with the same weights as an uninterrupted one: the order of examples depends only on seed and
epoch, random numbers only on seed and step, and a checkpoint contains everything else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmseq_cli.errors import LlmseqError
from llmseq_cli.language_model.chat import Encoded
from llmseq_cli.models.neural.checkpoints import Checkpoints
from llmseq_cli.progress import Task

_CLIP = 1.0
_WARMUP = 0.05
_WEIGHT_DECAY = 0.01
_BATCHES_PER_WINDOW = 50  # window of examples to sort by length, so that batches need little padding
_PAD = 0  # any token: no other token attends to it


@dataclass(frozen=True)
class Course:
    """How to train. epochs: at most. patience: stop after this many epochs without a better validation loss, 0 for
    never. tokens_at_once: including padding, on the device. prompt_weight: see `LocalTuning`. save_seconds: between
    checkpoints.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    patience: int = 0
    tokens_at_once: int = 8192
    prompt_weight: float = 0.0
    save_seconds: float = 300.0
    autocast: bool = False


@dataclass
class Progressed:
    """The progress of training. best: validation loss, at best_epoch. trained_tokens: without padding."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    trained_tokens: int = 0
    loss_sum: float = 0.0
    loss_count: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)


def batches_of(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Places of examples, batch by batch: in random order, with examples of similar length together."""
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    window = batch_size * _BATCHES_PER_WINDOW
    batches = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[first : first + batch_size] for first in range(0, len(part), batch_size)]
    return [batches[place] for place in random.permutation(len(batches))]


class Trainer:
    """Trains the weights of a model that require gradients, and ends with the best by validation."""

    def __init__(
        self,
        model: nn.Module,
        examples: Encoded,
        validation: Encoded | None,
        course: Course,
        checkpoints: Checkpoints | None = None,
        told: Callable[[str], None] = lambda text: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.model, self.examples, self.validation, self.course = model, examples, validation, course
        self.checkpoints, self.told, self.check = checkpoints, told, check
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.device = next(iter(self.weights.values())).device
        self.optimizer = torch.optim.AdamW(
            list(self.weights.values()),
            lr=course.learning_rate,
            weight_decay=_WEIGHT_DECAY,
            fused=self.device.type == "cuda",
        )
        self.best_weights: dict[str, Tensor] = {}
        self.at = Progressed()
        self.steps_per_epoch = math.ceil(len(examples) / course.batch_size)

    def run(self, task: Task) -> Progressed:
        """Train to the end, from the checkpoint if there is one. The bar counts examples of all epochs."""
        self._restore()
        task.advance(min(self.at.step * self.course.batch_size, self.course.epochs * len(self.examples)))
        self.saved = time.monotonic()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            while self.at.epoch < self.course.epochs and not self._out_of_patience():
                self._epoch(task)
        with torch.no_grad():
            for name, best in self.best_weights.items():
                self.weights[name].copy_(best)
        return self.at

    def _epoch(self, task: Task) -> None:
        at = self.at
        self.model.train()
        batches = batches_of(self.examples.lengths, self.course.batch_size, self.course.seed, at.epoch)
        for batch in batches[at.step_in_epoch :]:
            self.check()
            self._step(batch)
            at.step, at.step_in_epoch = at.step + 1, at.step_in_epoch + 1
            task.advance(len(batch))
            task.describe(f"Epoch {at.epoch + 1} of {self.course.epochs}, loss {at.loss_sum / at.loss_count:.3f}")
            if time.monotonic() - self.saved >= self.course.save_seconds:
                self._save()
        figures: dict[str, Any] = {"epoch": at.epoch + 1, "loss": at.loss_sum / at.loss_count}
        if self.validation is not None:
            figures["validation_loss"] = self._validate(self.validation)
            self._remember(figures["validation_loss"])
        at.curve.append(figures)
        self.told(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items()))
        at.epoch, at.step_in_epoch, at.loss_sum, at.loss_count = at.epoch + 1, 0, 0.0, 0.0
        self._save()

    def _step(self, batch: np.ndarray) -> None:
        """Update with one batch, which the model processes in parts that fit the device."""
        course, at = self.course, self.at
        torch.manual_seed(int(np.random.SeedSequence([course.seed, at.step]).generate_state(1)[0]))
        rate = course.learning_rate * self._share_of_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = self._weight_of(self.examples, batch)
        loss_sum = torch.zeros((), device=self.device)
        for part in _parts(self.examples.lengths, batch, course.tokens_at_once):
            loss = self._loss(self.examples, part)
            (loss / total).backward()
            loss_sum += loss.detach()
        nn.utils.clip_grad_norm_(list(self.weights.values()), _CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        at.trained_tokens += int(self.examples.lengths[batch].sum())
        at.loss_sum += float(loss_sum)
        at.loss_count += total
        if not math.isfinite(at.loss_sum):
            raise LlmseqError(f"the loss is not a number after {at.step + 1:,} steps", "lower --set learning_rate")

    def _share_of_rate(self) -> float:
        """Factor on the learning rate: rises in the first steps, then falls linearly to a twentieth at the end of the
        last epoch."""
        steps = self.steps_per_epoch * self.course.epochs
        warmup = max(1, int(_WARMUP * steps))
        if self.at.step < warmup:
            return (self.at.step + 1) / warmup
        return 1 - 0.95 * (self.at.step - warmup) / max(1, steps - warmup)

    def _weight_of(self, examples: Encoded, places: np.ndarray) -> float:
        """Total weight of the losses of all tokens in a batch."""
        weight = self.course.prompt_weight
        return float(sum(len(examples.completions[p]) + weight * (len(examples.prompts[p]) - 1) for p in places))

    def _loss(self, examples: Encoded, places: np.ndarray) -> Tensor:
        """Cross-entropy, summed over the tokens of answers and, weighted, of prompts."""
        arrays = _padded(examples, places, self.course.prompt_weight)
        tokens, weights = (array.to(self.device) for array in arrays)
        counts = weights[:, 1:] > 0  # whether the token that follows a place counts
        columns = counts.any(0).nonzero()[:, 0]
        # Padding is at the end, where no token attends to it: no mask is needed.
        with self._autocast(), _logits_at(self.model, counts[:, columns]):
            logits = self.model(input_ids=tokens, logits_to_keep=columns, use_cache=False).logits
        if logits.dim() == 3:  # of a model whose head is no layer
            logits = logits[counts[:, columns]]
        losses = nn.functional.cross_entropy(logits.float(), tokens[:, 1:][counts], reduction="none")
        return (losses * weights[:, 1:][counts]).sum()

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.course.autocast else nullcontext()

    @torch.no_grad()
    def _validate(self, examples: Encoded) -> float:
        """Mean loss per token of the answers."""
        self.model.eval()
        everything = np.argsort(examples.lengths, kind="stable")
        total = sum(float(self._loss(examples, part)) for part in self._validation_parts(examples, everything))
        self.model.train()
        return total / self._weight_of(examples, everything)

    def _validation_parts(self, examples: Encoded, places: np.ndarray) -> Iterator[np.ndarray]:
        return _parts(examples.lengths, places, self.course.tokens_at_once)

    def _remember(self, loss: float) -> None:
        if self.at.best is None or loss < self.at.best:
            self.at.best, self.at.best_epoch = loss, self.at.epoch + 1
            self.best_weights = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def _out_of_patience(self) -> bool:
        patience = self.course.patience
        return patience > 0 and self.at.best is not None and self.at.epoch - self.at.best_epoch >= patience

    def _save(self) -> None:
        """Write a checkpoint: weights, the best weights, the optimizer's moments, and the progress."""
        self.saved = time.monotonic()
        if self.checkpoints is None:
            return
        tensors: dict[str, Tensor] = {f"weight.{name}": weight for name, weight in self.weights.items()}
        tensors |= {f"best.{name}": weight for name, weight in self.best_weights.items()}
        for name, weight in self.weights.items():
            for moment, value in self.optimizer.state[weight].items():
                tensors[f"{moment}.{name}"] = value
        self.checkpoints.write(self.at.step * 2 + (self.at.step_in_epoch == 0), tensors, {"at": vars(self.at)})

    def _restore(self) -> None:
        if self.checkpoints is None:
            return
        with self.checkpoints.explained():
            found = self.checkpoints.read(str(self.device))
            if found is None:
                return
            self._take(*found)
        self.told(f"continuing after step {self.at.step:,}")

    def _take(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        self.at = Progressed(**about["at"])
        of_step = str(self.device) if self.device.type == "cuda" else "cpu"  # of the step counter
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weight.{name}"])
                moments = {moment: tensors[f"{moment}.{name}"] for moment in ("exp_avg", "exp_avg_sq")}
                self.optimizer.state[weight] = moments | {"step": tensors[f"step.{name}"].to(of_step)}
                if f"best.{name}" in tensors:
                    self.best_weights[name] = tensors[f"best.{name}"]


def _parts(lengths: np.ndarray, places: np.ndarray, tokens_at_once: int) -> Iterator[np.ndarray]:
    """Examples, ordered by length, in parts with at most this many padded tokens (but at least one example)."""
    ordered = places[np.argsort(-lengths[places], kind="stable")]
    start = 0
    while start < len(ordered):
        count = max(1, tokens_at_once // int(lengths[ordered[start]]))
        yield ordered[start : start + count]
        start += count


@contextmanager
def _logits_at(model: Any, places: Tensor) -> Iterator[None]:
    """Inside, the model makes logits [n, vocabulary] for these places alone (bool[rows, kept]), row by row."""
    head = model.get_output_embeddings()
    if head is None:
        yield
        return
    hook = head.register_forward_pre_hook(lambda _, given: (given[0][places], *given[1:]))
    try:
        yield
    finally:
        hook.remove()


def _padded(examples: Encoded, places: np.ndarray, prompt_weight: float) -> tuple[Tensor, Tensor]:
    """Tokens int64 and weights of losses float32, each [n, longest], padded on the right."""
    width = int(examples.lengths[places].max())
    tokens = np.full((len(places), width), _PAD, dtype=np.int64)
    weights = np.zeros((len(places), width), dtype=np.float32)
    for row, place in enumerate(places):
        prompt, completion = examples.prompts[place], examples.completions[place]
        end = len(prompt) + len(completion)
        tokens[row, : len(prompt)] = prompt
        tokens[row, len(prompt) : end] = completion
        weights[row, 1 : len(prompt)] = prompt_weight  # no token predicts the first one
        weights[row, len(prompt) : end] = 1
    return torch.from_numpy(tokens), torch.from_numpy(weights)
