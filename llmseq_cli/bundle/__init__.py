"""A trained run as one folder that recommends without a workspace: `Bundle.open("folder").recommend(["item"])`."""

from llmseq_cli.bundle.read import Bundle

__all__ = ["Bundle"]
