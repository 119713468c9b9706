"""Interactions in, `Sessions` and `Catalog` out."""
