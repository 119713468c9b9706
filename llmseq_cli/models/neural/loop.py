"""The one training loop of all neural models.

All randomness in a step (sessions, masks, dropout, negatives) derives from the seed and the number of the epoch or
step, so a run that continues from a checkpoint ends with exactly the same weights as an uninterrupted one.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmseq_cli.errors import InterruptedByUserError, LlmseqError
from llmseq_cli.models.neural.batches import Batch, Windows, with_times
from llmseq_cli.models.neural.checkpoints import Checkpoints
from llmseq_cli.models.neural.losses import gbce_loss, sampled_softmax_loss, softmax_loss
from llmseq_cli.models.neural.ranks import ALONE, Ranks
from llmseq_cli.models.neural.settings import NeuralSettings
from llmseq_cli.progress import Progress, Task

_PLATEAU_FACTOR = 0.5
_PLATEAU_EPOCHS = 2  # epochs without a better NDCG@20 before the plateau schedule lowers the rate

MakeBatch = Callable[..., Batch]


@dataclass
class TrainingState:
    """The progress of training.

    curve: one dict per epoch with epoch, loss, ndcg (None without validation), seconds, rate_factor (for plateau).
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    positions: int = 0
    seconds: float = 0.0
    epoch_loss: float = 0.0
    epoch_positions: int = 0
    best_ndcg: float = -1.0
    best_epoch: int = 0
    rate_factor: float = 1.0
    curve: list[dict[str, Any]] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """The numbers that are stored with a run."""
        figures = {
            "epochs": self.epoch,
            "best_epoch": self.best_epoch,
            "trained_positions": self.positions,
            "train_loop_seconds": self.seconds,
            "positions_per_second": self.positions / self.seconds if self.seconds else 0.0,
        }
        return figures | ({"validation_ndcg": self.best_ndcg} if self.best_ndcg >= 0 else {})


@dataclass(frozen=True)
class Job:
    """What to train, and on which data.

    make_batch: (items int64[n, length], lengths int64[n], random) → Batch; if an epoch has several copies of a window,
    also (copy int64[n]). ema_decay: of the weights' moving average, 0 for none. chunk: targets whose logits are in
    memory at once. draw_weights: probability of every row as a negative, float64[n_rows] that sum to 1, None for
    uniform. validate: () → NDCG@20 of the current network, None if nothing is held out. epochs: at most; schedules use
    the setting of that name. factors: of the learning rate in each epoch, for plateau, if known from an earlier
    training. pause: stop after this many epochs and write a checkpoint then, not after every epoch; None: do not stop.
    loss: Batch → the mean loss over its targets, if it is not the loss over the network's items; for a share
    of a batch, its contribution to the mean over the whole. ranks: the processes that train together.
    """

    network: nn.Module
    windows: Windows
    make_batch: MakeBatch
    settings: NeuralSettings
    learning_rate: float
    ema_decay: float
    seed: int
    device: str
    chunk: int
    precision: torch.dtype
    draw_weights: np.ndarray | None
    validate: Callable[[], float] | None
    epochs: int
    factors: list[float] | None
    pause: int | None
    title: str
    progress: Progress
    checkpoints: Checkpoints | None
    resume: bool
    loss: Callable[[Any], Tensor] | None = None
    ranks: Ranks = ALONE


def train(job: Job) -> TrainingState:
    """Train the network in place, ending with its best weights; return the progress.

    Raises InterruptedByUserError after Ctrl-C, once the step is finished and a checkpoint written, and LlmseqError if
    the loss is no longer a number.
    """
    return _Loop(job).run()


class _Loop:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.state = TrainingState()
        self.parameters = dict(job.network.named_parameters())
        self.optimizer = _optimizer(job)
        self.best: dict[str, Tensor] = {}
        self.average = self._copied() if job.ema_decay else {}
        self.steps = -(-job.windows.per_epoch // job.settings.batch_size)
        self.forward: Callable[[Batch], tuple[Tensor, Tensor]] = job.network
        if job.settings.compile:
            self.forward = _compiled(job)

    def run(self) -> TrainingState:
        job = self.job
        if job.resume:
            self._restore()
        elif job.checkpoints and job.ranks.rank == 0:
            job.checkpoints.remove()
        job.ranks.copy_from_first(self.parameters.values())
        per_epoch = int(job.windows.lengths.sum()) * job.windows.copies
        bar = job.progress.task(f"{job.title} 1", job.epochs * per_epoch, "items")
        with _interrupted_after_the_step() as interrupted, bar as task:
            task.advance(self.state.epoch * per_epoch)
            while not self._done():
                self._epoch(task, interrupted)
                self._end_of_epoch()
                task.describe(self._described(self.state.curve[-1]["loss"]))
        if self.best or self.average:
            self._load(self.best or self.average)
        return self.state

    def _copied(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def _described(self, loss: float) -> str:
        state = self.state
        best = f", best NDCG@20 {state.best_ndcg:.4f}" if state.best_ndcg >= 0 else ""
        return f"{self.job.title} {min(state.epoch + 1, self.job.epochs)}, loss {loss:.3f}{best}"

    def _done(self) -> bool:
        state, settings = self.state, self.job.settings
        waited = state.epoch - state.best_epoch
        most = self.job.epochs if self.job.pause is None else min(self.job.epochs, self.job.pause)
        return state.epoch >= most or (
            self.job.validate is not None and settings.patience > 0 and waited >= settings.patience
        )

    def _epoch(self, task: Task, interrupted: threading.Event) -> None:
        job, state = self.job, self.state
        job.network.train()
        batches = job.windows.batches(job.settings.batch_size, np.random.default_rng([job.seed, 1, state.epoch]))
        clock, described = time.perf_counter(), 0.0
        total = torch.zeros((), dtype=torch.float64, device=job.device if job.device != "mps" else "cpu")
        counted = state.epoch_positions
        for windows in batches[state.step_in_epoch :]:
            loss, positions = self._step(windows)
            total += loss.detach().to(total.device, torch.float64) * positions
            state.step_in_epoch += 1
            state.step += 1
            state.epoch_positions += positions
            task.advance(job.windows.items_in(windows))
            if time.perf_counter() - described > 0.5:
                described = time.perf_counter()
                mean = (state.epoch_loss + float(total)) / max(1, state.epoch_positions)
                task.describe(self._described(mean))
            if interrupted.is_set():
                break
        state.epoch_loss += float(total)
        state.seconds += time.perf_counter() - clock
        state.positions += state.epoch_positions - counted
        if not np.isfinite(state.epoch_loss):
            raise LlmseqError(
                "the loss is no longer a number", "use a smaller --set learning_rate, or --set grad_clip=1"
            )
        if interrupted.is_set():
            self._stop()

    def _step(self, windows: np.ndarray) -> tuple[Tensor, int]:
        """(mean loss of the step, number of its targets), over all ranks."""
        job, state = self.job, self.state
        random = np.random.default_rng([job.seed, 2, state.step])
        torch.manual_seed(int(random.integers(2**62)) + job.ranks.rank)
        # The copy number matters only if an epoch has several copies.
        copies = (windows // len(job.windows),) if job.windows.copies > 1 else ()
        made = job.make_batch(*job.windows.cut(windows), random, *copies)
        batch = job.ranks.share(with_times(made, job.windows.times_of(windows)))
        self._set_rate()
        loss = job.loss(batch) if job.loss else self._loss(batch, random)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        loss = job.ranks.add_up(loss, self.parameters.values())
        if job.settings.grad_clip:
            nn.utils.clip_grad_norm_(self.parameters.values(), job.settings.grad_clip)
        self.optimizer.step()
        self._follow()
        return loss, batch.positions

    @torch.no_grad()
    def _follow(self) -> None:
        """Update the moving average of the weights, closely at first: w̄ ← w̄ + (w − w̄) max(1 − a, 1 / (steps +
        1))."""
        share = max(1 - self.job.ema_decay, 1 / (self.state.step + 1))
        for name, average in self.average.items():
            average.lerp_(self.parameters[name], share)

    def _loss(self, batch: Batch, random: np.random.Generator) -> Tensor:
        if self.job.settings.loss == "softmax":
            batch, counts = batch.distinct()
            hidden, items = self.forward(batch)
            return softmax_loss(hidden, items, batch.targets, self.job.chunk, self.job.precision, counts) * batch.weight
        return self._sampled_loss(*self.forward(batch), batch.targets, random) * batch.weight

    def _sampled_loss(self, hidden: Tensor, items: Tensor, targets: Tensor, random: np.random.Generator) -> Tensor:
        job, settings = self.job, self.job.settings
        shape: tuple[int, ...] = (settings.negatives,)
        if settings.negatives_for:
            shape = (max(1, -(-len(targets) // settings.negatives_for)), *shape)
        drawn = _draw(job.draw_weights, len(items), shape, random)
        negatives = torch.from_numpy(drawn).to(job.device)
        if settings.loss == "gbce":
            return gbce_loss(hidden, items, targets, negatives, settings.gbce_t)
        if job.draw_weights is None:
            return sampled_softmax_loss(hidden, items, targets, negatives)
        expected = np.log(settings.negatives * job.draw_weights[drawn]).astype(np.float32)
        return sampled_softmax_loss(hidden, items, targets, negatives, torch.from_numpy(expected).to(job.device))

    def _set_rate(self) -> None:
        settings, state = self.job.settings, self.state
        share = min(1.0, state.step / max(1, self.steps * settings.epochs))
        factor = {
            "constant": 1.0,
            "linear": 1 - share,
            "cosine": 0.5 * (1 + np.cos(np.pi * share)),
            "plateau": state.rate_factor if self.job.factors is None else self.job.factors[state.epoch],
        }[settings.schedule]
        for group in self.optimizer.param_groups:
            group["lr"] = self.job.learning_rate * float(factor)

    def _end_of_epoch(self) -> None:
        job, state = self.job, self.state
        state.epoch += 1
        ndcg = job.ranks.from_first(self._validated) if job.validate else None
        loss = state.epoch_loss / max(1, state.epoch_positions)
        entry = {"epoch": state.epoch, "loss": loss, "ndcg": ndcg, "seconds": state.seconds}
        state.curve.append(entry | {"rate_factor": state.rate_factor})
        state.step_in_epoch, state.epoch_loss, state.epoch_positions = 0, 0.0, 0
        if ndcg is None:
            state.best_epoch = state.epoch
        elif ndcg > state.best_ndcg:
            state.best_ndcg, state.best_epoch = ndcg, state.epoch
            self.best = {name: tensor.clone() for name, tensor in self.average.items()} or self._copied()
        elif (state.epoch - state.best_epoch) % _PLATEAU_EPOCHS == 0:
            state.rate_factor *= _PLATEAU_FACTOR
        if job.pause is None or self._done():
            self._checkpoint()

    def _validated(self) -> float:
        """NDCG@20 of the averaged weights if there are any, otherwise of the weights."""
        assert self.job.validate is not None
        if not self.average:
            return self.job.validate()
        now = self._copied()
        self._load(self.average)
        ndcg = self.job.validate()
        self._load(now)
        return ndcg

    def _stop(self) -> None:
        self._checkpoint()
        state = self.state
        best = f"; best so far NDCG@20 {state.best_ndcg:.4f} in epoch {state.best_epoch}" if self.best else ""
        hint = "run the same command with --resume to continue" if self.job.checkpoints else ""
        raise InterruptedByUserError(
            f"stopped in {self.job.title.lower()} {state.epoch + 1}, step {state.step_in_epoch}{best}", hint
        )

    def _checkpoint(self) -> None:
        if self.job.checkpoints is None or self.job.ranks.rank > 0:
            return
        tensors: dict[str, Tensor] = {f"weights.{name}": parameter for name, parameter in self.parameters.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{key}.{name}"] = value
        self.job.checkpoints.write(self.state.step, tensors, asdict(self.state))

    def _restore(self) -> None:
        if self.job.checkpoints is None:
            return
        with self.job.checkpoints.explained():
            found = self.job.checkpoints.read(self.job.device)
            if found is None:
                return
            self._take(*found)
        done = f"{self.job.title.lower()} {self.state.epoch}, step {self.state.step_in_epoch}"
        self.job.progress.message(f"continuing after {done}")

    def _take(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        self.state = TrainingState(**about)
        self._load(_part(tensors, "weights."))
        self.best, self.average = _part(tensors, "best."), _part(tensors, "average.")
        for name, parameter in self.parameters.items():
            moments = {
                key: tensors[f"optimizer.{key}.{name}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"optimizer.{key}.{name}" in tensors
            }
            if moments:
                moments["step"] = moments["step"].to("cpu" if self.job.device == "cpu" else self.job.device)
                self.optimizer.state[parameter] = moments

    def _load(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])


def _optimizer(job: Job) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, 2019); biases and norms do not decay."""
    parameters = [p for p in job.network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": job.settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=job.learning_rate, fused=job.device in ("cpu", "cuda"))


def _compiled(job: Job) -> Callable[[Batch], tuple[Tensor, Tensor]]:
    """The compiled network; after a failure, the uncompiled one."""
    network: Callable[[Batch], tuple[Tensor, Tensor]] = job.network
    compiled: Callable[[Batch], tuple[Tensor, Tensor]] = torch.compile(job.network, dynamic=True)
    failed = False

    def forward(batch: Batch) -> tuple[Tensor, Tensor]:
        nonlocal failed
        if not failed:
            try:
                return compiled(batch)
            except Exception as error:  # compilers fail in a hundred ways
                failed = True
                job.progress.warn(f"torch.compile failed, training without it: {type(error).__name__}")
        return network(batch)

    return forward


def _draw(weights: np.ndarray | None, n_rows: int, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Draw rows with replacement, int64 with this shape. weights: float64[n_rows] that sum to 1, None for uniform."""
    if weights is None:
        return random.integers(n_rows, size=shape)
    return np.searchsorted(np.cumsum(weights), random.random(shape)).clip(max=n_rows - 1)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@contextmanager
def _interrupted_after_the_step() -> Iterator[threading.Event]:
    """Let Ctrl-C set the event instead of stopping at an arbitrary point; a second Ctrl-C stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def on_signal(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
