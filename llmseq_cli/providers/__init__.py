"""Where language models are fine-tuned and asked: OpenAI's protocol, services of their own kind, this machine."""
