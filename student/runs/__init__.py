"""A run folder: settings, weights, state, predictions."""
