"""Whole-catalog ranking and the metrics computed from it."""
