"""Reads runs and presents them; never trains."""
