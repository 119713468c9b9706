"""Options for an audit of a language model's memory."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from llmseq_cli.errors import UsageError, did_you_mean
from llmseq_cli.prompting.options import AskingOptions

PROBES = ("title", "id", "session", "history")


@dataclass(frozen=True)
class AuditOptions(AskingOptions):
    """Which model to ask, about which dataset, and which probes.

    model: an id of the provider's, or a fine-tuning job. probes: some of PROBES. sample: questions a probe. called: the
    name by which the model may know the dataset; None for its name here.
    """

    model: str
    _: KW_ONLY
    dataset: str | None = None
    probes: tuple[str, ...] = PROBES
    sample: int = 200
    called: str | None = None
    temperature: float = 0.0
    max_tokens: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for probe in self.probes:
            if probe not in PROBES:
                raise UsageError(f"there is no probe '{probe}'", did_you_mean(probe, list(PROBES)))
        if not self.probes:
            raise UsageError("no probe is named", f"some of {', '.join(PROBES)}")
        if self.sample < 1:
            raise UsageError(f"--sample is {self.sample}", "give at least 1, for example 200")
