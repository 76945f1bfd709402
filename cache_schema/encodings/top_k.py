"""``top_k``: of a clip's logits the k largest, and one value that stands for all the others.

A row of C logits becomes 2k + 1 numbers of 16 bits: the classes of the k largest, then those logits
in descending order and the one of the rest, these k + 1 as the bit patterns of float16. Of equal
logits the class that comes first is kept first.

The rest keeps its probability. With the softmax of a single-label task it is
``r = log(1 / (C - k) * sum_rest exp(z_j))``, so that ``(C - k) * exp(r)`` is what the rest had and every
kept class keeps its probability. With the sigmoids of a multi-label task it is
``sigmoid(r) = 1 / (C - k) * sum_rest sigmoid(z_j)``. In both no other constant is nearer to the exact
probabilities by their Kullback-Leibler divergence. At another temperature than 1 neither is exact.

Shape suffixes: N rows, C classes, K kept classes.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import CacheError

Task = Literal["single", "multi"]
Codes = NDArray[np.uint16]
MAX_CLASSES = 1 << 16


def entries(kept: int) -> int:
    """Stored numbers of a row that keeps `kept` classes."""
    return 2 * kept + 1


def k_of_width(stored: int) -> int:
    """Kept classes of a row of so many stored numbers."""
    return stored // 2


def encode(logits_NC: NDArray[Any], kept: int, task: Task) -> Codes:
    """Keep the largest logits of each row.

    Parameters
    ----------
    logits_NC : float array, shape (N, C)
        Finite, and within what float16 holds.
    kept : int
        K, at least 1 and below C.
    task : {"single", "multi"}
        Decides what of the rest is kept; see the module.

    Returns
    -------
    uint16 array, shape (N, 2 K + 1)

    Raises
    ------
    ValueError
        If `kept` is out of range.
    """
    _check_k(kept, logits_NC.shape[-1])
    order_NC = np.argsort(-logits_NC.astype(np.float64), axis=-1, kind="stable")
    return _pack(logits_NC, order_NC, kept, task)


def decode(codes: Codes, classes: int) -> NDArray[np.float16]:
    """Logits of all classes: those kept, and the one of the rest for each of the others.

    Parameters
    ----------
    codes : uint16 array, shape (N, 2 K + 1)
        As :func:`encode` gives them.
    classes : int
        C.

    Returns
    -------
    float16 array, shape (N, C)

    Raises
    ------
    CacheError
        Kind ``"damaged"``, if a row names a class that is not there.
    """
    kept = k_of_width(codes.shape[1])
    places_NK, values = codes[:, :kept], codes[:, kept:].view(np.float16)
    if places_NK.max(initial=0) >= classes:
        raise CacheError(
            f"top-k logits name class {places_NK.max()}, the teacher has {classes}. List all damage: "
            "inspect-cache CACHE --verify",
            kind="damaged",
        )
    logits_NC = np.repeat(values[:, -1:], classes, axis=-1)
    np.put_along_axis(logits_NC, places_NK.astype(np.int64), values[:, :-1], axis=-1)
    return logits_NC


def requantize_like(
    stored_NC: NDArray[Any], logits_NC: NDArray[Any], kept: int, task: Task
) -> NDArray[np.float16]:
    """Reduce logits to the classes that stored ones keep, to compare both.

    Run again, a teacher may give two nearly equal logits in the other order; to keep the larger of
    them would compare one with the rest.

    Parameters
    ----------
    stored_NC, logits_NC : float array, shape (N, C)
        As :func:`decode` gives them, and as the teacher does now.
    kept, task
        As :func:`encode` takes them.

    Returns
    -------
    float16 array, shape (N, C)
    """
    # Rounded, the rest may equal what was kept last: then the larger is what was kept.
    order_NC = np.lexsort((-logits_NC.astype(np.float64), -stored_NC.astype(np.float64)), axis=-1)
    return decode(_pack(logits_NC, order_NC, kept, task), logits_NC.shape[-1])


def _check_k(kept: int, classes: int) -> None:
    if not 1 <= kept < classes <= MAX_CLASSES:
        raise ValueError(f"expected 1 <= k < classes <= {MAX_CLASSES}, got k {kept} of {classes}")


def _pack(logits_NC: NDArray[Any], order_NC: NDArray[np.intp], kept: int, task: Task) -> Codes:
    sorted_NC = np.take_along_axis(logits_NC.astype(np.float64), order_NC, axis=-1)
    rest_N = _REST[task](sorted_NC[..., kept:])
    values = np.concatenate([sorted_NC[..., :kept], rest_N[..., None]], axis=-1).astype(np.float16)
    return np.concatenate([order_NC[..., :kept].astype(np.uint16), values.view(np.uint16)], axis=-1)


def _log_mean_exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp.reduce(values, axis=-1) - np.log(values.shape[-1]))


def _logit_of_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logit of the mean probability, from the logarithms of both probabilities of each class."""
    likely, unlikely = -np.logaddexp(0.0, -values), -np.logaddexp(0.0, values)
    return _log_mean_exp(likely) - _log_mean_exp(unlikely)


_REST = {"single": _log_mean_exp, "multi": _logit_of_mean}
