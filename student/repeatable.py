"""Settings of torch under which the same command gives the same bits."""

from __future__ import annotations

import os

import torch


def prepare_torch(threads: int) -> None:
    """Fix the count of CPU threads and choose deterministic algorithms where there are any."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
