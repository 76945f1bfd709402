"""``prepare-corpus``: fetch, check and unpack a published corpus."""
