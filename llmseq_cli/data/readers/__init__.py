"""Readers: load files of many formats into the staging tables of sql/ingest/staging.sql."""

from llmseq_cli.data.readers.read import read
from llmseq_cli.data.readers.reading import ReadReport, Source
from llmseq_cli.data.readers.to_score import read_sessions

__all__ = ["ReadReport", "Source", "read", "read_sessions"]
