"""Where language models are fine-tuned and asked: OpenAI, Vertex AI, this machine; one file each."""
