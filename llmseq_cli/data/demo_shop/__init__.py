"""The grocery shop that `llmseq demo` makes up."""
