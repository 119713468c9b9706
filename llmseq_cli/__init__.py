"""llmseq: try, tune and compare sequential recommenders with LLMs.

In a notebook or script::

    from llmseq_cli import EmbedOptions, IngestOptions, TrainOptions, Workspace

    with Workspace("my-workspace") as workspace:
        workspace.ingest(IngestOptions(["clicks.csv"], "shop"))
        workspace.embed(EmbedOptions("lexical", dataset="shop"))
        workspace.train(TrainOptions("llmseqsim", dataset="shop", embeddings="lexical"))
        print(workspace.report("shop"))
"""

from typing import TYPE_CHECKING, Any

from llmseq_cli._version import __version__
from llmseq_cli.errors import LlmseqError

if TYPE_CHECKING:
    from llmseq_cli.backend import Backend
    from llmseq_cli.data.append import AppendOptions
    from llmseq_cli.data.ingest import Protocol
    from llmseq_cli.data.options import IngestOptions
    from llmseq_cli.data.splits import SplitRule
    from llmseq_cli.embeddings.options import EmbedOptions
    from llmseq_cli.finetuning.options import FinetuneOptions
    from llmseq_cli.prompting.memory.options import AuditOptions
    from llmseq_cli.prompting.options import PromptOptions
    from llmseq_cli.prompting.rerank.options import RerankOptions
    from llmseq_cli.reporting.options import PlotOptions, ReportOptions
    from llmseq_cli.training.options import ScoreOptions, TrainOptions
    from llmseq_cli.tuning.options import TuneOptions
    from llmseq_cli.workspace import Workspace

__all__ = [
    "AppendOptions",
    "AuditOptions",
    "Backend",
    "EmbedOptions",
    "FinetuneOptions",
    "IngestOptions",
    "LlmseqError",
    "PlotOptions",
    "PromptOptions",
    "Protocol",
    "ReportOptions",
    "RerankOptions",
    "ScoreOptions",
    "SplitRule",
    "TrainOptions",
    "TuneOptions",
    "Workspace",
    "__version__",
]

_HOMES = {
    "AppendOptions": "llmseq_cli.data.append",
    "AuditOptions": "llmseq_cli.prompting.memory.options",
    "Backend": "llmseq_cli.backend",
    "EmbedOptions": "llmseq_cli.embeddings.options",
    "PlotOptions": "llmseq_cli.reporting.options",
    "FinetuneOptions": "llmseq_cli.finetuning.options",
    "IngestOptions": "llmseq_cli.data.options",
    "PromptOptions": "llmseq_cli.prompting.options",
    "Protocol": "llmseq_cli.data.ingest",
    "ReportOptions": "llmseq_cli.reporting.options",
    "RerankOptions": "llmseq_cli.prompting.rerank.options",
    "ScoreOptions": "llmseq_cli.training.options",
    "SplitRule": "llmseq_cli.data.splits",
    "TrainOptions": "llmseq_cli.training.options",
    "TuneOptions": "llmseq_cli.tuning.options",
    "Workspace": "llmseq_cli.workspace",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `llmseq --help` must not pay for DuckDB and numpy.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'llmseq_cli' has no attribute {name!r}")
