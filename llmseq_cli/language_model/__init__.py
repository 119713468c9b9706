"""Language models on this machine: fine-tuning, answering, and a small model that is trained from nothing."""
