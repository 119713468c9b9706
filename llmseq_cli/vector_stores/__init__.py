"""Export a model's item vectors to common vector stores."""
