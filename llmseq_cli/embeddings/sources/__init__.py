"""Sources of text vectors: one file per source, each implements `EmbeddingSource` (source.py)."""
