"""From a model's name and settings to a stored run."""
