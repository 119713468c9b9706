"""Item vectors: make, store and pool them."""
