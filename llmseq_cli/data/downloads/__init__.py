"""Download files: once, resuming where a download was interrupted; public datasets by name."""
