"""Ask language models: questions, replies, and the way from answers to recommendations and a stored run."""
