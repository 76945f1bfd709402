"""The processes of one training, as ``torchrun`` starts them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from cache_schema.devices import check_device
from cache_schema.errors import RunError, UsageError, bullet_list
from cache_schema.text import one_line

# For a process that hangs; one that ends closes its connections, which the others see at once.
EXCHANGE_TIMEOUT = timedelta(minutes=10)
# What torchrun puts into the environment of each process; the last two where there are several.
RANK, COUNT, LOCAL_RANK = "RANK", "WORLD_SIZE", "LOCAL_RANK"
ADDRESS, PORT = "MASTER_ADDR", "MASTER_PORT"


@dataclass(frozen=True, slots=True)
class Processes:
    """One process among all that train the same student.

    Attributes
    ----------
    rank, count : int
        Number of this process, and how many there are.
    local_rank : int
        Its number on its machine, which is that of its GPU.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @classmethod
    def of_torchrun(cls) -> Processes:
        """Read what ``torchrun`` says of this process; the only one where it did not start it.

        Raises
        ------
        UsageError
            Naming each variable of the environment that cannot be one of its, with its value.
        """
        if not distributed.is_torchelastic_launched():
            return cls()
        if problems := _torchrun_problems():
            raise UsageError(
                f"the environment names torchrun (TORCHELASTIC_RUN_ID), and {len(problems)} of its "
                f"variables cannot be used\n{bullet_list(problems)}\nStart the training by torchrun, "
                "which sets them all; or, for one process, repeat the command under env -u "
                "TORCHELASTIC_RUN_ID",
                kind="environment",
            )
        return cls(*(int(os.environ[name]) for name in (RANK, COUNT, LOCAL_RANK)))

    @property
    def writes(self) -> bool:
        """Whether this process writes the run and reports: the first does, for all."""
        return self.rank == 0

    def devices(self, accelerator: str) -> list[int] | int:
        """Devices that Fabric shall take: the GPU of this process, or one of whatever there is."""
        if self.count > 1 and accelerator in ("auto", "cuda") and torch.cuda.is_available():
            return [self.local_rank]
        return 1

    def check_lanes(self, lanes: int) -> None:
        """Check that each process has as many lanes as the others.

        Raises
        ------
        UsageError
            With both numbers.
        """
        if lanes % self.count:
            raise UsageError(
                f"--lanes {lanes} cannot be divided among {self.count} processes. Give a multiple, for "
                f"example --lanes {self.count}; a step learns from so many batches",
                kind="options",
            )

    @contextmanager
    def joined(self, accelerator: str) -> Iterator[None]:
        """Connect the processes; a context without effect where there is one.

        Raises
        ------
        UsageError
            If the machine has fewer GPUs than processes.
        """
        if self.count == 1:
            yield
            return
        on_gpu = self.devices(accelerator) != 1
        if on_gpu:
            check_device(f"cuda:{self.local_rank}", torch)
            torch.cuda.set_device(self.local_rank)
        distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=EXCHANGE_TIMEOUT)
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def gather(self, own: Tensor) -> Tensor:
        """Give the tensors of all processes, in a new first axis.

        Raises
        ------
        RunError
            Kind ``"lost_process"`` where another one has ended.
        """
        if self.count == 1:
            return own[None]
        found = [torch.empty_like(own) for _ in range(self.count)]
        try:
            distributed.all_gather(found, own.contiguous())
        except RuntimeError as error:
            raise RunError(
                f"process {self.rank} of {self.count} lost another one ({one_line(error)[:120]}); the "
                "message of the one that ended first says why. Repeat the command to go on from the "
                "last state that was saved.",
                kind="lost_process",
            ) from None
        return torch.stack(found)

    def wait(self) -> None:
        """Wait until every process is here."""
        self.any(False)

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds in any process."""
        if self.count == 1:
            return flag
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        return bool(self.gather(torch.tensor([float(flag)], device=device)).any())


def _torchrun_problems() -> list[str]:
    """What is wrong with the variables of torchrun: a rank that is not one would be waited for."""
    rank, count, local_rank, port = map(_number, (RANK, COUNT, LOCAL_RANK, PORT))
    several = count is not None and count > 1
    below = f"a number from 0 below {COUNT}" + (f" ({count})" if count else "")
    wrong = {
        COUNT: (not count, "a number of processes from 1"),
        RANK: (rank is None or (count and rank >= count), below),
        LOCAL_RANK: (local_rank is None or (count and local_rank >= count), below),
        ADDRESS: (several and not os.environ.get(ADDRESS), "the first process' machine"),
        PORT: (several and not 0 < (port or 0) < 1 << 16, "a port of it, from 1 to 65535"),
    }
    return [
        f"{name} is {repr(os.environ[name]) if name in os.environ else 'not set'}, expected {expected}"
        for name, (is_wrong, expected) in wrong.items()
        if is_wrong
    ]


def _number(name: str) -> int | None:
    """Read a variable of the environment that counts; None where it does not."""
    text = os.environ.get(name, "")
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


ALONE = Processes()
