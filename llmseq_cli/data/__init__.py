"""Read interactions; provide them as `Sessions` and `Catalog`."""
