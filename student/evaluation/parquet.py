"""Tables as Parquet: the only module of `student` that imports pyarrow. Installed by ``[parquet]``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise UsageError(
        "a Parquet file needs pyarrow: pip install 'aftersound[parquet]'; a name that ends in .csv does "
        "without",
        kind="extra",
    ) from None


def parquet_bytes(columns: Mapping[str, list[str] | NDArray[np.float64]]) -> bytes:
    """Encode columns: lists are text, as it is, also where there is no row."""
    arrays = [
        pa.array(values, pa.string() if isinstance(values, list) else pa.float64())
        for values in columns.values()
    ]
    with pa.BufferOutputStream() as file:
        pq.write_table(pa.table(arrays, names=list(columns)), file)
        encoded: bytes = file.getvalue().to_pybytes()
    return encoded
