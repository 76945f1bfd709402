"""What a cache is: its format, and how it is written, read, verified and inspected.

Needs NumPy and zarr, never torch, transformers or dask.
"""
