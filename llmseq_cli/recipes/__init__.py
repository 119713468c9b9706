"""Recipes: which dataset, which embeddings, which runs, as a TOML file that a user can copy and edit."""
