"""Where vectors of texts come from: one file a source, all speak `EmbeddingSource` (base.py)."""
