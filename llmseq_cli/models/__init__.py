"""One file per recommender; all implement `Recommender` (recommender.py), and `registry.py` finds them by name."""
