"""Trained models as a small HTTP service."""
