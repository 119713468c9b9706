"""Re-ranking: a language model puts the first items of a stored run's lists in order."""
