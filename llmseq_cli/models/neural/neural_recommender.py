"""`NeuralRecommender`: the common part of neural models; a model adds its encoder and its examples."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from llmseq_cli.data.sessions import Sessions
from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings, unit_rows
from llmseq_cli.errors import UsageError
from llmseq_cli.evaluation.metrics import per_session
from llmseq_cli.evaluation.ranking import NO_ITEM, Ranking
from llmseq_cli.evaluation.small_blocks import MOST_HISTORIES, SmallBlocks
from llmseq_cli.models import saved_arrays
from llmseq_cli.models.neural.batches import Batch, Windows, history_blocks, next_item
from llmseq_cli.models.neural.checkpoints import Checkpoints, begin
from llmseq_cli.models.neural.cooccurrence import session_vectors
from llmseq_cli.models.neural.held_out import hold_out, some_cases, with_validation
from llmseq_cli.models.neural.item_vectors import ItemVectors
from llmseq_cli.models.neural.loop import Job, TrainingState, train
from llmseq_cli.models.neural.memory import forecast
from llmseq_cli.models.neural.network import Encoder, Network, ProjectionHead
from llmseq_cli.models.neural.paper_layout import UNIFORM, glorot
from llmseq_cli.models.neural.ranks import ALONE
from llmseq_cli.models.neural.scoring import rank_sessions, target_ranks
from llmseq_cli.models.neural.settings import LAYOUTS, RATES, NeuralSettings
from llmseq_cli.models.neural.times import TIMES, check_times
from llmseq_cli.models.neural.torch_state import precision, torch_state
from llmseq_cli.models.neural.warm import grown, transferred
from llmseq_cli.models.recommender import FitContext, ItemSpace, Recommender, WarmStart

_REDUCED_DIM = 128
_EMA_DECAYS = {True: 0.998, False: 0.995}  # vectors that start at random change too fast for long averages
VALIDATION_DEPTH = 20
_A_YEAR = 365 * 86_400 * 10**6  # in microseconds, the unit of times
_ROWS, _STEP = 64, 4  # histories per block, and the multiple to which lengths are padded


class NeuralRecommender(Recommender):
    """A network trained so that the next item has the highest product with the session's vector.

    Items are renumbered for the network: `item_ids` int32[n_rows] has the item of every row, first those that occur in
    training, then (with `cold_items`) those that only have a text.
    """

    Settings: ClassVar[type[NeuralSettings]] = NeuralSettings
    embeddings_use = "optional"
    uses_device = True
    data_parallel = True
    starts_warm = True
    pauses = True
    needs_dense = True
    reduced_dim = _REDUCED_DIM
    free_to_change = ("epochs", "patience")
    activation: ClassVar[str] = "relu"
    dense_scores: ClassVar[bool] = True
    """Whether an item's score is the product of its vector with the session's vector."""

    layouts: ClassVar[tuple[str, ...]] = LAYOUTS
    """Possible values of the setting `layout`."""

    reads_times: ClassVar[tuple[str, ...]] = TIMES
    """Possible values of the setting `time`."""

    settings: NeuralSettings
    network: Network
    item_ids: np.ndarray
    curve: list[dict[str, Any]]
    device = "cpu"

    @abstractmethod
    def make_encoder(self, dim: int) -> Encoder:
        """The network between item vectors and head."""

    def window(self) -> int:
        """Number of a session's items in a training example."""
        return self.settings.max_length + 1

    def history_length(self) -> int:
        """Number of a session's items that are read to recommend."""
        return self.settings.max_length

    def copies(self) -> int:
        """Number of examples per session and epoch."""
        return 1

    def make_batch(self, items: np.ndarray, lengths: np.ndarray, random: np.random.Generator) -> Batch:
        """Examples of the windows, see `Windows.cut`: every item predicts the next one."""
        return next_item(items, lengths, self.device, self.settings.last_weight)

    def own_loss(self) -> Callable[[Any], Tensor] | None:
        """The loss of a batch, if it is not the loss over the network's items; see `Job`."""
        return None

    def prepare(self, job: Job, sessions: Sessions, context: FitContext) -> None:
        """Prepare the network before the job trains it; sessions: the job's training sessions."""

    def fit(self, train: Sessions, context: FitContext) -> dict[str, float]:
        self.device = context.device
        self._check_layout()
        if self.settings.warm and context.warm is None:
            words = f"`llmseq train {self.name} --warm {self.settings.warm}`"
            raise UsageError(f"{self.name} cannot start from a run here", words)
        if self.settings.time == "none":
            train = replace(train, times=None)
        else:
            self._check_times(train)
        known = self._all_known(train, context)
        if context.ranks is None:
            begin(context.checkpoints, context.resume, context.progress)
        first = train if known is None or self.settings.patience else known  # nothing is chosen without patience
        sessions = self._number_items(first, context.embeddings)
        kept, held_out = self._split(sessions, context)
        with torch_state(self.settings.threads, context.seed, self.device):
            state = self._train(kept, held_out, sessions, context)
            figures = state.figures()
            self.curve = state.curve
            if known is not None and self.settings.patience and context.pause is None:
                figures = self._refit(self._number_items(known, context.embeddings), state, figures, context)
            elif len(kept) < len(sessions) and self.settings.refit and context.pause is None:
                figures = self._refit(sessions, state, figures, context)
            self._settle()
        return figures

    def _all_known(self, train: Sessions, context: FitContext) -> Sessions | None:
        """The sessions with the split's validation items, where the network is to be trained on these at last."""
        if not (self.settings.refit_validation and context.refits_validation):
            return None
        if context.validation is None:
            raise UsageError("the split has no validation items of its own", "leave out refit_validation")
        return with_validation(train, context.validation)

    @classmethod
    def needs_times(cls, settings: Any) -> bool:
        return bool(settings.time != "none")

    def _check_layout(self) -> None:
        if self.settings.layout not in self.layouts:
            raise UsageError(f"{self.name} has no layout={self.settings.layout}", "leave out layout")

    def _check_times(self, train: Sessions) -> None:
        """Raises UsageError if the network cannot read times, or the sessions have none."""
        if self.settings.time not in self.reads_times:
            words = " or ".join(self.reads_times)
            raise UsageError(f"{self.name} has no time={self.settings.time}", f"time can be {words}")
        if self.settings.layout == "paper":
            raise UsageError("layout=paper reads no times", "leave out time")
        check_times(train)

    def start(self, train: Sessions, context: FitContext) -> None:
        """Set up the untrained model from which `fit` starts."""
        self.device = context.device
        self._check_layout()
        sessions = self._number_items(train, context.embeddings)
        with torch_state(self.settings.threads, context.seed, self.device):
            self.network = self._build(sessions, context).to(self.device)
            self._settle()

    def _refit(
        self, sessions: Sessions, state: TrainingState, figures: dict[str, float], context: FitContext
    ) -> dict[str, float]:
        """Train again on these sessions for the best number of epochs; return the figures of both trainings."""
        factors = [1.0, *(entry["rate_factor"] for entry in state.curve)]
        again = self._train(sessions, None, sessions, context, state.best_epoch, factors)
        both = figures | {"refit_epochs": again.epoch}
        for name in ("trained_positions", "train_loop_seconds"):
            both[name] += again.figures()[name]
        both["positions_per_second"] = both["trained_positions"] / max(both["train_loop_seconds"], 1e-9)
        return both

    def _number_items(self, train: Sessions, embeddings: ItemEmbeddings | None) -> Sessions:
        """Set `item_ids`; return the sessions with rows instead of items."""
        seen = train.counts(self.n_items) > 0
        later = np.zeros(self.n_items, dtype=bool)
        if self.settings.cold_items:
            if embeddings is None:
                raise UsageError(f"{self.name} cannot know items unseen in training without their text", "--embeddings")
            later = ~seen & np.asarray(embeddings.vectors.any(axis=1))
        self.n_seen = int(seen.sum())
        self.item_ids = np.concatenate([np.flatnonzero(seen), np.flatnonzero(later)]).astype(np.int32)
        return self._rows(train)

    def _rows(self, sessions: Sessions) -> Sessions:
        """The sessions with rows instead of items, without items that have no row."""
        row_of = np.full(self.n_items, -1, dtype=np.int32)
        row_of[self.item_ids] = np.arange(len(self.item_ids), dtype=np.int32)
        rows = row_of[sessions.items]
        known = rows >= 0
        numbered = replace(sessions, items=rows)
        return numbered if known.all() else numbered.where(known)

    def _split(self, sessions: Sessions, context: FitContext) -> tuple[Sessions, Sessions | None]:
        """(sessions to train on, sessions to validate on or None)."""
        if context.validation is None:
            return hold_out(sessions, self.settings, context.seed)
        if not self.settings.patience:
            return sessions, None
        known = np.isin(context.validation.targets(), self.item_ids)
        cases = self._rows(context.validation.take(np.flatnonzero(known)))
        return sessions, some_cases(cases, self.settings.validation_sessions, context.seed)

    def _build(self, sessions: Sessions, context: FitContext) -> Network:
        """Build the network; sessions: the training sessions."""
        text, embeddings, warm = None, context.embeddings, context.warm
        if embeddings is not None:
            if embeddings.is_sparse:
                raise UsageError(f"{self.name} needs dense vectors", "use --reduce whiten --dim 128")
            text = np.asarray(embeddings.vectors[self.item_ids], dtype=np.float32)
            if embeddings.lengths == "unit":
                text = unit_rows(text)
        if self.settings.item_init == "sessions":
            width = self._dim(None) if text is None else text.shape[1]
            told = session_vectors(sessions, len(self.item_ids), width, context.seed)
            text = told if text is None else unit_rows(np.concatenate([text, told], axis=1))
        if warm is not None:
            return self._grown(warm, text)
        return self._network(self._dim(text), text)

    def _grown(self, warm: WarmStart, text: np.ndarray | None) -> Network:
        """The network of an earlier run with rows for this catalog's items."""
        if type(warm.model) is not type(self):
            raise UsageError(f"{warm.run} is not a run of {self.name}", f"name a run of {self.name}")
        assert isinstance(warm.model, NeuralRecommender)
        state = {name: tensor.cpu() for name, tensor in warm.model.network.state_dict().items()}
        if warm.elsewhere:
            return transferred(state, text, self._network, warm.run)
        stood = np.full(self.n_items, -1, dtype=np.int64)
        now = warm.items[warm.model.item_ids]
        stood[now[now >= 0]] = np.flatnonzero(now >= 0)
        rows = stood[self.item_ids]
        if (rows < 0).all():
            raise UsageError(f"{warm.run} knows none of the items", "name a run on an older version of the dataset")
        return grown(state, rows, text, self._network, warm.run)

    def _dim(self, text: np.ndarray | None) -> int:
        wanted = self.settings.dim
        if text is None:
            return wanted or self.settings.dim_without_embeddings
        if wanted and wanted != text.shape[1] and not self.settings.item_vectors.startswith("adapter"):
            raise UsageError(
                f"dim is {wanted}, and the embeddings have {text.shape[1]} dimensions",
                f"--dim {wanted} reduces them; or --set item_vectors=adapter",
            )
        return wanted or text.shape[1]

    def _network(self, dim: int, text: np.ndarray | None) -> Network:
        settings, n_rows = self.settings, len(self.item_ids)
        self._small_blocks = SmallBlocks()
        paper = settings.layout == "paper"
        uniform = UNIFORM if paper else None
        vectors = ItemVectors(n_rows, dim, settings.item_vectors, settings.scale, text, uniform=uniform)
        head = None
        if paper:
            head = ProjectionHead(dim, n_rows, self.activation, width=self.head_width(), norm=False)
            glorot(head.dense)
        elif settings.head == "projection":
            head = ProjectionHead(dim, n_rows, self.activation)
        return Network(vectors, self.make_encoder(dim), head, self.n_seen)

    def head_width(self) -> int | None:
        """Width of the head's input with layout=paper; None: that of the item vectors."""
        return None

    def _train(
        self,
        kept: Sessions,
        held_out: Sessions | None,
        sessions: Sessions,
        context: FitContext,
        epochs: int | None = None,
        factors: list[float] | None = None,
    ) -> TrainingState:
        """Build and train the network. epochs, factors: for a refit, see `Job`."""
        settings = self.settings
        rate = settings.learning_rate
        torch.manual_seed(context.seed)
        self.network = self._build(kept, context).to(context.device)
        informed = context.embeddings is not None or settings.item_init == "sessions"
        windows = Windows(
            kept, self.window(), 2, every=settings.windows == "all", recency=settings.recency, copies=self.copies()
        )
        if not len(windows):
            raise UsageError("no training session has two items", "a session needs an item to predict from")
        dim = self.network.output(self.network.item_vectors()).shape[1]
        plan = forecast(
            len(self.item_ids),
            dim,
            sum(p.numel() for p in self.network.parameters()),
            settings.batch_size * settings.max_length,
            settings.loss,
            settings.negatives,
            context.device,
        )
        job = Job(
            network=self.network,
            windows=windows,
            make_batch=self.make_batch,
            settings=settings,
            learning_rate=RATES[informed] if rate is None else rate,
            ema_decay=_EMA_DECAYS[informed] if settings.ema_decay is None else settings.ema_decay,
            seed=context.seed,
            device=context.device,
            chunk=plan.chunk,
            precision=precision(settings.precision, context.device),
            draw_weights=_draw_weights(sessions, self.n_seen) if _weighted(settings) else None,
            validate=None if held_out is None else self._validator(held_out, context.allows_repeats),
            epochs=epochs or settings.epochs,
            factors=factors,
            pause=context.pause,
            title="Refit epoch" if epochs else "Epoch",
            progress=context.progress,
            checkpoints=self._checkpoints(context, "refit" if epochs else "search"),
            resume=bool(context.resume),
            loss=self.own_loss(),
            ranks=context.ranks or ALONE,
        )
        self.prepare(job, kept, context)
        return train(job)

    def _checkpoints(self, context: FitContext, part: str) -> Checkpoints | None:
        return (context.ranks or ALONE).checkpoints(context.checkpoints / part) if context.checkpoints else None

    def _validator(self, held_out: Sessions, allows_repeats: bool) -> Callable[[], float]:
        histories, targets = held_out.histories(), held_out.targets()

        def validate() -> float:
            self._settle()
            hidden = self._encode(histories)
            ranks = target_ranks(hidden, self._output, histories, targets, exclude_history=not allows_repeats)
            return float(per_session(ranks, VALIDATION_DEPTH)["ndcg"].mean())

        return validate

    def move(self, device: str) -> None:
        """Move the model to this device for scoring."""
        self.device = device
        self.network.to(device)
        self._settle()

    @torch.no_grad()
    def _settle(self) -> None:
        """Compute the current item vectors for scoring: `_vectors` and `_output`, float32[n_rows, d]."""
        self.network.eval()
        self._vectors = self.network.item_vectors().detach()
        self._output = self.network.output(self._vectors).detach()
        self._of_catalog: tuple[Tensor, np.ndarray] | None = None  # by item: output vectors, candidates

    @torch.inference_mode()
    def _encode(self, histories: Sessions) -> Tensor:
        """Session vectors, float32[n_histories, d]. histories: of rows."""
        hidden = torch.zeros(len(histories), self._output.shape[1], device=self.device)
        if self.settings.time == "none":
            histories = replace(histories, times=None)

        def rows_of(length: int) -> int:
            """Number of histories of this length to encode at once."""
            if self.device != "cpu":
                return _ROWS
            encode = partial(self._encode_some, length, histories.times is not None)
            return self._small_blocks.size(len(histories), _ROWS, (length, histories.times is not None), encode)

        for block in history_blocks(histories, self.history_length(), rows_of, _STEP):
            places, items, lengths = (
                torch.from_numpy(array).to(self.device) for array in (block.places, block.items, block.lengths)
            )
            times = None if block.times is None else torch.from_numpy(block.times).to(self.device)
            hidden[places] = self.network.encode(items, lengths, self._vectors, times)[: len(places)]
        return hidden

    def _encode_some(self, length: int, with_times: bool, rows: int) -> np.ndarray:
        """Random histories of about this length, encoded at once: float32[rows, d], see `SmallBlocks`."""
        drawn = np.random.default_rng(0)
        items = torch.from_numpy(drawn.integers(0, len(self.item_ids), (_ROWS, length))[:rows])
        lengths = torch.from_numpy(drawn.integers(max(1, length - _STEP + 1), length + 1, _ROWS)[:rows])
        times = torch.from_numpy(np.sort(drawn.integers(0, _A_YEAR, (_ROWS, length)))[:rows]) if with_times else None
        return self.network.encode(items, lengths, self._vectors, times).numpy()

    def recommend(self, histories: Sessions, k: int, *, exclude_history: bool = True) -> Ranking:
        with torch_state(self.settings.threads, None, self.device):
            known = self._rows(histories)
            hidden = self._encode(known)
            of_catalog = self._of_catalog or (self.by_item(self._output), self.candidates())
            if len(histories) <= MOST_HISTORIES:
                self._of_catalog = of_catalog
            lists = rank_sessions(
                hidden,
                *of_catalog,
                histories,
                k,
                exclude_history=exclude_history,
                small_blocks=self._small_blocks,
            )
        nothing = known.lengths == 0
        lists.items[nothing], lists.scores[nothing] = NO_ITEM, -np.inf
        return lists

    def by_item(self, rows: Tensor) -> Tensor:
        """Vectors of rows as vectors of the catalog's items, 0 for items without a row: float32[n_items, d]."""
        vectors = torch.zeros(self.n_items, rows.shape[1], device=rows.device)
        vectors[torch.from_numpy(self.item_ids.astype(np.int64)).to(rows.device)] = rows
        return vectors

    def candidates(self) -> np.ndarray:
        """bool[n_items]: items with a row in the network, which it can read and recommend."""
        candidates = np.zeros(self.n_items, dtype=bool)
        candidates[self.item_ids] = True
        return candidates

    def item_space(self) -> ItemSpace | None:
        if not self.dense_scores:
            return None

        def of_sessions(sessions: Sessions) -> np.ndarray:
            with torch_state(self.settings.threads, None, self.device):
                return self._encode(self._rows(sessions)).cpu().numpy()

        return ItemSpace(self.by_item(self._output).cpu().numpy(), self.candidates(), "dot", of_sessions)

    def arrays(self) -> dict[str, np.ndarray]:
        state = {f"network.{name}": tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}
        return state | {"item_ids": self.item_ids}

    def restore_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        self.item_ids = saved_arrays.places(arrays, "item_ids", self.n_items)
        if len(np.unique(self.item_ids)) < len(self.item_ids):
            raise saved_arrays.DamagedError("'item_ids' names an item twice")
        self.n_seen = len(self.item_ids)  # only used in training
        state = {
            name.removeprefix("network."): torch.from_numpy(array)
            for name, array in arrays.items()
            if name.startswith("network.")
        }
        for name, tensor in state.items():
            if not torch.isfinite(tensor).all():
                raise saved_arrays.DamagedError(f"'{name}' holds numbers that are not finite")
        self.network = self.restored_network(state)
        self.network.load_state_dict(state)
        self.curve = []
        self._settle()

    def restored_network(self, state: dict[str, Tensor]) -> Network:
        """A network that fits the state."""
        text = state.get("item_vectors.text")
        name = "item_vectors.vectors" if "item_vectors.vectors" in state else "item_vectors.adapter.weight"
        dim = state[name].shape[1 if name.endswith("vectors") else 0]
        return self._network(dim, None if text is None else text.numpy())

    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / "curve.json").write_text(json.dumps(self.curve, indent=1) + "\n", encoding="utf-8")


def _weighted(settings: NeuralSettings) -> bool:
    """Whether negatives are also drawn by popularity, and weighted."""
    return settings.loss == "sampled" and settings.negatives_from == "mixed"


def _draw_weights(sessions: Sessions, n_rows: int) -> np.ndarray:
    """The probability of every row as a negative: half by popularity, half uniform."""
    counts = sessions.counts(n_rows).astype(np.float64)
    weights: np.ndarray = 0.5 * counts / counts.sum() + 0.5 / n_rows
    return weights
