"""Re-ranking: a language model reorders the first items of a stored run's lists."""
