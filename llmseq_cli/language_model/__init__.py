"""Language models on this machine: fine-tuning, answering, and a small model trained from scratch."""
