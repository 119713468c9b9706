"""What the neural recommenders share: batches, item vectors, losses, the training loop, scoring."""
