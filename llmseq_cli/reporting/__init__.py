"""Read runs and present them; never train."""
