"""Write the golden cache of format version 1. Run once, when a format version is born, never again.

python tests/golden/make_golden.py tests/golden/format_1.zarr
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import small_cache

if __name__ == "__main__":
    small_cache.write_small_cache(Path(sys.argv[1]))
