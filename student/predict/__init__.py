"""What a trained student says about recordings, from a run folder or from an exported file."""
