"""What a trained student predicts for recordings, from a run folder or from an exported file."""
