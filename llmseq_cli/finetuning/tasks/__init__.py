"""The tasks: what a model is asked, what it should answer, and how its answers are parsed."""
