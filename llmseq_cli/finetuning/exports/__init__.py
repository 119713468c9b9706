"""Training files and ready configurations for trainers elsewhere: one template a file, one format an entry."""
