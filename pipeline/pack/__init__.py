"""``pack-corpus``: any corpus as HDF5 packs."""
