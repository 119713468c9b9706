"""Recipes: dataset, embeddings and runs in a TOML file that users can copy and edit."""
