"""Training files and configurations for other trainers: one template per file, one entry per format."""
