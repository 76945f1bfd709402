"""Files of a cache: arrays, digests, guarded paths, locks."""
