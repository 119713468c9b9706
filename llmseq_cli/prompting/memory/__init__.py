"""Does a language model know a dataset by heart? Questions that only memory answers, against a permuted control."""
