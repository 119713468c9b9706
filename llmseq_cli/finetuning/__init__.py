"""Fine-tuning of language models: tasks, examples, templates, jobs and their ledger."""
