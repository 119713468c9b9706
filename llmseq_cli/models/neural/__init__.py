"""Shared by the neural recommenders: batches, item vectors, losses, the training loop, scoring."""
