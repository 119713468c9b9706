"""Files from the web: fetched once, resumed where they were cut off; the public datasets by name."""
