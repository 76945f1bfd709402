"""``inspect-cache``: show, verify and plot a cache."""
