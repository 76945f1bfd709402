"""What `finetune-teacher` keeps of a run: the state after each epoch, and the best weights."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cache_schema.errors import RunError, is_out_of_memory
from cache_schema.store.files import check_in_place, write_atomic
from cache_schema.store.safe_open import read_plain

FACTS_FILE, STATE_FILE, BEST_FILE = "facts.json", "state.pt", "best.pt"


def changing_weights(model: nn.Module) -> dict[str, Tensor]:
    """Name what training changes: the parameters not frozen, and statistics of batch norms."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    changing = trained | {name for name, _ in model.named_buffers()}
    return {name: value for name, value in model.state_dict().items() if name in changing}


def take_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a model what `changing_weights` gave of it or of its like."""
    with torch.no_grad():
        for name, value in changing_weights(model).items():
            value.copy_(weights[name])


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values, all or nothing."""
    check_in_place(path.parent / FACTS_FILE, "teacher")
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


@contextmanager
def loaded(path: Path, device: torch.device) -> Iterator[dict[str, Any]]:
    """Read what `save` wrote; whatever fails while it is taken up is the file's damage.

    Raises
    ------
    RunError
        Kind ``"damaged"``, with the reason and the ways on.
    """
    try:
        content = io.BytesIO(read_plain(path))
    except FileNotFoundError:
        raise RunError(f"{path} is missing. {_ways_on(path)}", kind="damaged") from None
    try:
        yield torch.load(content, weights_only=True, map_location=device)
    except Exception as error:  # whatever a damaged pickle makes of the unpickler
        if is_out_of_memory(error):  # the file is good
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:80]
        raise RunError(
            f"{path} is damaged, or another version wrote it ({reason}). {_ways_on(path)}",
            kind="damaged",
        ) from None


def _ways_on(path: Path) -> str:
    return f"Choose another --out, or delete {path.parent} to train anew."
