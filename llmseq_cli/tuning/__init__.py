"""Search for the settings that do best on the training side: spaces, folds, workers, studies."""
