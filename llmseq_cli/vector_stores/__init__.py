"""The vectors that a model scores items by, for the vector stores that people have."""
