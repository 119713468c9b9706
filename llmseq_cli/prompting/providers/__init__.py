"""Who fine-tunes and answers."""
