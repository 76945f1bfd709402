"""The report of runs: what a student learned, beside its teacher and its undistilled twin."""
