"""Settings of torch under which the same command gives the same bits."""

from __future__ import annotations

import os

import numpy as np
import torch


def prepare_torch(threads: int) -> None:
    """Fix the count of CPU threads and choose deterministic algorithms where there are any."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)


def sequence_seed(*numbers: int) -> int:
    """Give a seed for torch that follows from these numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Give what continues torch's random numbers, by the type of device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def restore_random(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Take up `states`, as far as they are of this type of device."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu" and device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type])
