"""Has a language model memorised a dataset? Questions that only memory can answer, compared with a permuted control."""
