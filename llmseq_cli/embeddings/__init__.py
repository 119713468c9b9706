"""Vectors of items: where they come from, how they are kept and pooled."""
