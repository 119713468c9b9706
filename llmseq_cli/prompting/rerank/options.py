"""Options for re-ranking."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.prompting.options import AskingOptions

METHODS = ("listwise", "pairwise", "pointwise-yes", "pointwise-title")


@dataclass(frozen=True)
class RerankOptions(AskingOptions):
    """Which run's lists to reorder, with which model and how.

    run: its name in `llmseq report`. model: an id of the provider, or a fine-tuning job. top: how many items of each
    list to reorder. method: one of METHODS. window, step: items in a listwise question, and how far the next window
    moves up. shuffles: number of random orders to show, whose ranks are averaged; 0: the run's order. rounds: of a
    pairwise tournament, None for enough to single out the best. validation: also re-rank lists for the validation
    sessions. limit: sessions to ask about, drawn at random. template: a TOML file with the wording.
    """

    run: str
    _: KW_ONLY
    model: str
    dataset: str | None = None
    top: int = 20
    method: str = "listwise"
    window: int = 20
    step: int = 10
    shuffles: int = 1
    rounds: int | None = None
    validation: bool = False
    limit: int | None = None
    template: str | None = None
    temperature: float = 0.0
    max_tokens: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"there is no method '{self.method}'", did_you_mean(self.method, list(METHODS)))
        for name, least in (("top", 2), ("window", 2), ("step", 1), ("shuffles", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} is {getattr(self, name)}", f"give {least} or more")
        if self.step > self.window:
            raise UsageError(
                f"--step {self.step} leaves out items between windows of {self.window}",
                f"give a --step of at most {self.window}, or a larger --window",
            )
        if self.rounds is not None and self.method != "pairwise":
            raise UsageError("--rounds is for tournaments", "add --method pairwise, or leave it out")
