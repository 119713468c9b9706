"""One file a recommender; all speak `Recommender` (base.py), `registry.py` finds them by name."""
