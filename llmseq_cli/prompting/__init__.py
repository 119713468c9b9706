"""Asking language models: questions, replies, from answers to recommendations and a stored run."""
