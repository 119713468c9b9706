"""Data-parallel training on a Ray cluster, by Ray Train: the same loop as at home, in several workers.

The driver, which has the store, lays sessions and embeddings into Ray's object store, where workers read them, and gets
the model back as arrays. Between them stands a `Keeper`, an actor on the driver's machine: rank 0 hands it every
checkpoint, which it writes where a training at home would, and what there is to tell; so no disk needs to be shared, a
training that loses a worker goes on from its last checkpoint with those that are left, and `--resume` works as ever.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmseq_cli.backend import Backend
from llmseq_cli.data.sessions import Sessions
from llmseq_cli.devices import resolve_device
from llmseq_cli.errors import InterruptedByUserError, LlmseqError, NotInstalledError, UsageError
from llmseq_cli.models.neural.checkpoints import Checkpoints, begin
from llmseq_cli.models.neural.neural_recommender import NeuralRecommender
from llmseq_cli.models.neural.ranks import ProcessGroup
from llmseq_cli.models.recommender import FitContext, Recommender
from llmseq_cli.models.registry import model_class
from llmseq_cli.progress import Progress, SilentProgress
from llmseq_cli.ray_cluster import connect, disconnect
from llmseq_cli.settings import parse_settings
from llmseq_cli.training.environment import peak_memory_mb, usable_cores
from llmseq_cli.training.remote_progress import Event, Mouthpiece, Relay

_FAILURES = 5  # workers that may be lost before training gives up
_LOOK_SECONDS = 0.25
_WAIT_SECONDS = 20  # for workers, before it is said what is waited for


def check_backend(cls: type[Recommender], backend: Backend) -> None:
    """Raises UsageError if the model is not trained by several processes, or this one is not on the cluster."""
    if not cls.data_parallel:
        raise UsageError(
            f"{cls.name} is not trained by several workers",
            "gru4rec, sasrec, bert4rec and s3rec are; leave out --backend",
        )
    if (backend.address or "").startswith("ray://"):
        raise UsageError("Ray Train needs a machine of the cluster", "run llmseq there, with --ray-address auto")


@dataclass(frozen=True)
class Share:
    """What every worker is given. settings: by name. context: its checkpoints lie on the driver's machine."""

    model: str
    settings: dict[str, Any]
    n_items: int
    sessions: Sessions
    context: FitContext


@dataclass(frozen=True)
class TrainedParts:
    """What rank 0 hands back. settings: a model may have set some that were open."""

    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    curve: list[dict[str, Any]]
    figures: dict[str, float]


class RayTraining:
    """Trains models on a cluster's workers, within `with`.

    device: "cuda" where the cluster has a GPU for every worker, or "cpu". backend: how many workers train together; one
    a GPU, else one a machine, where it does not say. threads: of a CPU worker. A cluster that this process is connected
    to already is used, and kept.
    """

    def __init__(self, backend: Backend, device: str) -> None:
        self._address, self._wanted, self._device = backend.address, backend.workers, device

    def __enter__(self) -> RayTraining:
        loaded = sys.modules.get("ray")
        self._kept = loaded is not None and loaded.is_initialized()
        self._ray = connect(self._address, usable_cores())
        try:
            _check_ray_train()
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self.device = _device(self._device, nodes, self._wanted)
            self.workers, self.threads = _divided(nodes, self._wanted, self.device)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            disconnect()

    def fit(self, model: Recommender, sessions: Sessions, context: FitContext) -> dict[str, float]:
        """Train the model, as its `fit` does; figures say workers (those of the last part) and workers lost, too.

        Raises LlmseqError if a worker raises one or too many are lost, InterruptedByUserError after Ctrl-C.
        """
        assert isinstance(model, NeuralRecommender)
        begin(context.checkpoints, context.resume, context.progress)
        keeper = self._keeper()
        trainer_of = self._trainer_of(keeper, self._share(model, sessions, context))
        with tempfile.TemporaryDirectory(prefix="llmseq-ray-") as scratch:
            run = _InThread(trainer_of(scratch).fit)
            try:
                self._follow(run, keeper, context)
            except BaseException:
                self._ray.kill(keeper)  # so that on a cluster that stays no worker starts again
                raise
        outcome: TrainedParts
        outcome, workers, lost = self._ray.get(keeper.end.remote())
        model.settings = parse_settings(model.Settings, outcome.settings, model.name)
        # Copies: what lies in the object store is not to be written to.
        model.restore_arrays({name: array.copy() for name, array in outcome.arrays.items()})
        model.curve = outcome.curve
        if self.device == resolve_device("auto") == "cuda":
            model.move("cuda")
        return outcome.figures | {"workers": workers, "workers_lost": lost}

    def about(self) -> dict[str, Any]:
        """What a run's environment says of it."""
        return {"backend": "ray", "workers": self.workers, "threads_a_worker": self.threads}

    def _keeper(self) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        return self._ray.remote(Keeper).options(num_cpus=0, scheduling_strategy=here).remote()

    def _share(self, model: Recommender, sessions: Sessions, context: FitContext) -> Any:
        """In the object store: one copy a machine. Texts enter as embeddings, and stay at home."""
        nameless = np.full(len(context.catalog), "", dtype=object)
        catalog = replace(context.catalog, external_ids=nameless, titles=nameless)
        folder = context.checkpoints and context.checkpoints.resolve()
        # Where the driver has no checkpoint, there is none: what lies there is always gone on from.
        needed = FitContext(
            catalog,
            context.embeddings,
            context.seed,
            self.device,
            checkpoints=folder,
            resume=True,
            keeps_unseen=context.keeps_unseen,
            validation=context.validation,
            allows_repeats=context.allows_repeats,
            refits_validation=context.refits_validation,
            warm=context.warm,
        )
        return self._ray.put(Share(model.name, model.settings.to_dict(), model.n_items, sessions, needed))

    def _trainer_of(self, keeper: Any, share: Any) -> Callable[[str], Any]:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        each = {"CPU": self.threads} | ({"GPU": 1} if self.device == "cuda" else {})
        return lambda scratch: TorchTrainer(
            _work,
            train_loop_config={"keeper": keeper, "share": [share]},
            # Down to one of them: what is lost is not waited for.
            scaling_config=ScalingConfig(
                num_workers=(1, self.workers),  # type: ignore[arg-type]
                use_gpu=self.device == "cuda",
                resources_per_worker=each,
            ),
            run_config=RunConfig(storage_path=scratch, failure_config=FailureConfig(max_failures=_FAILURES)),
        )

    def _follow(self, run: _InThread, keeper: Any, context: FitContext) -> None:
        """Tell what the workers tell until the training is over."""
        waited = 0.0
        with Relay(context.progress) as relay:
            try:
                over = False
                while not over:
                    over = run.over(_LOOK_SECONDS)
                    told, failed = self._ray.get(keeper.take.remote())
                    relay.tell(told)
                    if failed:
                        raise failed
                    waited += 0.0 if relay.told else _LOOK_SECONDS
                    if _WAIT_SECONDS <= waited < _WAIT_SECONDS + _LOOK_SECONDS:
                        context.progress.message("waiting for workers to start; `ray status` shows who is busy")
            except KeyboardInterrupt:
                hint = "run the same command with --resume to continue from the last whole epoch"
                raise InterruptedByUserError("training on Ray was stopped", hint) from None
        if run.error is not None:
            said = _last_line(run.error)
            hint = "--resume continues from the last whole epoch; the workers' logs are in the folder of Ray's session"
            raise LlmseqError(f"training on Ray failed: {said}", hint) from run.error


def _check_ray_train() -> None:
    try:
        import ray.train.torch  # noqa: F401
    except (ImportError, RuntimeError) as error:  # a package that it needs; it says so in either way
        raise NotInstalledError(f"Ray Train does not load: {_last_line(error)}", "ray") from error


def _device(wanted: str, nodes: list[Mapping[str, float]], workers: int | None) -> str:
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if wanted == "auto":
        return "cuda" if gpus >= (workers or 1) else "cpu"
    if wanted == "mps":
        raise UsageError("workers on Ray do not train on mps", "--device cpu")
    if wanted == "cuda" and gpus == 0:
        raise UsageError("the Ray cluster has no GPU", "--device cpu, or join machines with one: `ray start --address`")
    return wanted


def _divided(nodes: list[Mapping[str, float]], wanted: int | None, device: str) -> tuple[int, int]:
    """(workers, CPUs of each): as many as fit. Raises UsageError if so many workers do not."""
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    cuda = device == "cuda"
    workers = wanted or (sum(gpus) if cuda else sum(cpu > 0 for cpu in cpus))

    def fit(each: int) -> int:
        return sum(min(cpu // each, gpu) if cuda else cpu // each for cpu, gpu in zip(cpus, gpus, strict=True))

    most = fit(1)
    if workers > most or workers < 1:
        kind = "GPUs" if cuda else "CPUs"
        raise UsageError(
            f"the Ray cluster has {most} {kind} for {workers} workers",
            f"--workers {most}" if most else "`ray status` shows what it has",
        )
    return workers, next(each for each in range(max(cpus), 0, -1) if fit(each) >= workers)


def _work(config: dict[str, Any]) -> None:
    """What every worker runs."""
    import ray

    keeper, share = config["keeper"], ray.get(config["share"][0])
    ranks = ProcessGroup(share.context.device, lambda folder: KeptByDriver(folder, keeper))
    try:
        ray.get(keeper.start.remote(ranks.rank, ranks.size))
    except ray.exceptions.RayActorError:
        return  # the driver has given up
    progress: Progress = SilentProgress() if ranks.rank else Mouthpiece(keeper.tell.remote)
    cls = model_class(share.model)
    model: Any = cls(parse_settings(cls.Settings, share.settings, share.model), share.n_items)
    try:
        figures = model.fit(share.sessions, replace(share.context, progress=progress, ranks=ranks))
    except LlmseqError as error:  # training it again would not help
        ray.get(keeper.fail.remote(error))
        raise
    if ranks.rank == 0:
        figures["worker_peak_memory_mb"] = peak_memory_mb()
        outcome = TrainedParts(model.arrays(), model.settings.to_dict(), model.curve, figures)
        ray.get(keeper.finish.remote(outcome))


class Keeper:
    """An actor beside the driver: has the checkpoints, and what rank 0 tells until the driver asks for it."""

    def __init__(self) -> None:
        self._told: list[Event] = []
        self._sizes: list[int] = []
        self._failed: LlmseqError | None = None
        self._outcome: TrainedParts | None = None

    def start(self, rank: int, size: int) -> None:
        """A rank starts its training, with so many workers; the first one tells of it, and of those that were lost."""
        if rank > 0:
            return
        if self._sizes:
            lost = f"a worker was lost: continuing from the last checkpoint with {size} of them"
            self._told += [("restart",), ("warn", lost)]
        else:
            self._told.append(("message", f"training on Ray with {size} {'worker' if size == 1 else 'workers'}"))
        self._sizes.append(size)

    def tell(self, events: list[Event]) -> None:
        self._told += events

    def fail(self, error: LlmseqError) -> None:
        self._failed = self._failed or error

    def finish(self, outcome: TrainedParts) -> None:
        self._outcome = outcome

    def take(self) -> tuple[list[Event], LlmseqError | None]:
        """(what was told since the last time, what ended the training)."""
        told, self._told = self._told, []
        return told, self._failed

    def end(self) -> tuple[TrainedParts | None, int, int]:
        """(what was learnt, workers at the end, how often one was lost)."""
        return self._outcome, self._sizes[-1], len(self._sizes) - 1

    def write(self, folder: Path, step: int, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
        import torch

        Checkpoints(folder).write(step, {name: torch.tensor(array) for name, array in arrays.items()}, about)

    def read(self, folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        found = Checkpoints(folder).read("cpu")
        if found is None:
            return None
        return {name: tensor.numpy() for name, tensor in found[0].items()}, found[1]

    def remove(self, folder: Path) -> None:
        Checkpoints(folder).remove()


class KeptByDriver(Checkpoints):
    """Checkpoints in a folder of the driver's machine, as workers see them."""

    def __init__(self, folder: Path, keeper: Any) -> None:
        super().__init__(folder)
        self._keeper = keeper

    def write(self, step: int, tensors: Mapping[str, Any], about: dict[str, Any]) -> None:
        import ray

        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        ray.get(self._keeper.write.remote(self.folder, step, arrays, about))

    def read(self, device: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        import ray
        import torch

        found = ray.get(self._keeper.read.remote(self.folder))
        if found is None:
            return None
        return {name: torch.tensor(array, device=device) for name, array in found[0].items()}, found[1]

    def remove(self) -> None:
        import ray

        ray.get(self._keeper.remove.remote(self.folder))


class _InThread:
    """A function that runs beside this thread, which is free to show progress and to be interrupted."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            function()
        except BaseException as error:
            self.error = error

    def over(self, seconds: float) -> bool:
        """Whether it is, after so long at most."""
        self._thread.join(seconds)
        return not self._thread.is_alive()


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
