"""llmseq: try, tune and compare sequential recommenders with LLMs.

In a notebook or script::

    from llmseq_cli import Workspace

    with Workspace("my-workspace") as workspace:
        workspace.ingest(["clicks.csv"], name="shop")
        workspace.embed("shop", source="lexical")
        workspace.train("llmseqsim", dataset="shop", embeddings="lexical")
        print(workspace.report("shop"))
"""

from typing import TYPE_CHECKING

from llmseq_cli._version import __version__
from llmseq_cli.errors import LlmseqError

if TYPE_CHECKING:
    from llmseq_cli.workspace import Workspace

__all__ = ["LlmseqError", "Workspace", "__version__"]


def __getattr__(name: str):
    # Imported on first use: `llmseq --help` must not pay for DuckDB and numpy.
    if name == "Workspace":
        from llmseq_cli.workspace import Workspace

        return Workspace
    raise AttributeError(f"module 'llmseq_cli' has no attribute {name!r}")
