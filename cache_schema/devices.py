"""Whether a torch device exists, for all commands alike and before anything is written."""

from __future__ import annotations

import re
from typing import Any

from cache_schema.errors import UsageError

_NAMES = re.compile(r"cpu|mps|cuda(:(0|[1-9][0-9]{0,3}))?")


def check_device(name: str, torch: Any, *, elsewhere: bool = False) -> None:
    """Reject a device that is none, or that this machine has not.

    Parameters
    ----------
    name : str
        ``"cpu"``, ``"mps"``, ``"cuda"`` or ``"cuda:N"``.
    torch : module
        The caller's torch, which lists the devices.
    elsewhere : bool
        Other machines compute: only the name can be checked here.

    Raises
    ------
    UsageError
        Naming what is available.
    """
    spelled = _NAMES.fullmatch(name) is not None
    if spelled and elsewhere:
        return
    available = ["cpu"]
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        available += ["cuda", *(f"cuda:{number}" for number in range(count))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name in available:
        return
    problem = "is not on this machine" if spelled else "is no device (cpu, cuda, cuda:N, mps)"
    raise UsageError(
        f"--device {name!r} {problem}; available: {', '.join(available)}", kind="device"
    )
