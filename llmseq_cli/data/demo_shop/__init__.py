"""The synthetic grocery shop of `llmseq demo`."""
