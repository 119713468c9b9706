"""LLMSeqPrompt: the fine-tuning tasks, the providers, and the way from answers to recommendations."""
