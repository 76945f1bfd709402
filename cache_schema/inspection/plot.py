"""Pictures of cached clips: the only module that imports matplotlib."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UsageError
from cache_schema.inspection.log_mel import log_mel
from cache_schema.inspection.prediction_text import prediction_text
from cache_schema.reader import Cache
from cache_schema.signal_names import (
    ATTENTION_MAP,
    LAYER_ATTENTION,
    LOGITS,
    TEMPORAL_ATTENTION,
    VIEW_DRAWS,
    WAVEFORM,
    qualified,
)
from cache_schema.store.files import write_atomic
from cache_schema.terminal import echo
from cache_schema.text import plot_text
from cache_schema.view_recipe import place_within

INK = {"teacher": "#b2182b", "distilled": "#2166ac", "undistilled": "#7f7f7f"}
COLUMN_INCHES = (8.0, 4.5)  # of a clip alone, and beside others
_NO_GLYPH = re.compile(r"Glyph (\d+) .*missing from")


@dataclass(frozen=True, slots=True)
class ClipPanel:
    """A clip and where in it each model attends.

    Attributes
    ----------
    title : str
        What is shown.
    samples_S : int16, shape (S,)
        The waveform.
    curves : dict
        Name to (frame times in seconds, attention that sums to 1).
    place_s : (float, float) or None
        The stretch to mark.
    place_name : str
        What it is.
    """

    title: str
    samples_S: NDArray[np.int16]
    curves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    place_s: tuple[float, float] | None
    place_name: str = "clip"


def _matplotlib() -> Any:
    try:
        import matplotlib as mpl
    except ImportError:
        raise UsageError(
            "pictures need matplotlib: pip install 'aftersound[plot]'", kind="extra"
        ) from None
    mpl.use("Agg")
    mpl.rcParams["pdf.fonttype"] = 42  # TrueType: journals take no Type 3
    from matplotlib import pyplot

    return pyplot


def require_matplotlib() -> None:
    """Reject pictures that could not be drawn.

    Raises
    ------
    UsageError
        Naming the extra that brings it.
    """
    _matplotlib()


def plot_clip(cache: Cache, facts: dict[str, Any], file: Path) -> None:
    """Draw one cached clip: log-mel, temporal attention, and layers and map where cached.

    Where a view surrounds the clip with more, its own place is marked.

    Parameters
    ----------
    cache : Cache
        Gives the time grids.
    facts : dict
        As :func:`cache_schema.inspection.summary.clip_facts` returns them.
    file : Path
        PNG to write.

    Raises
    ------
    UsageError
        If the clip is quarantined or nothing of it can be drawn.
    """
    signals = facts["signals"]
    panels = [name for name in _PANELS if name in signals]
    if not panels:
        why = "it is quarantined" if facts["quarantined"] else f"cached: {', '.join(signals)}"
        raise UsageError(f"clip {facts['id']} cannot be drawn: {why}", kind="plot")
    pyplot = _matplotlib()
    heights = [{ATTENTION_MAP: 3.0, WAVEFORM: 1.6}.get(name, 1.2) for name in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        figsize=(8, 1.5 * sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    span_s = max(_end_s(cache, name, signals[name]) for name in panels)
    row_s = _end_s(cache, panels[0], signals[panels[0]])  # of the waveform, where there is one
    place_s = place_within(signals[VIEW_DRAWS], row_s) if VIEW_DRAWS in signals else None
    for name, axis in zip(panels, axes[:, 0], strict=True):
        _PANELS[name](axis, cache, signals[name].astype(np.float64))
        _mark(axis, place_s, "clip", shade=name == TEMPORAL_ATTENTION)
        axis.set_xlim(0, span_s)
    axes[0, 0].set_title(_title(cache, facts), fontsize=10)
    axes[-1, 0].set_xlabel("time [s]")
    _save(figure, file)


def _title(cache: Cache, facts: dict[str, Any]) -> str:
    """Clip and label, and below them what each teacher predicts."""
    nothing = "none of the classes" if facts["labelled"] else "unlabelled"
    label = ";".join(facts["labels"]) or nothing
    lines = [f"{facts['id']}  ({label}, {facts['split']}, view {facts['view']})"]
    for name, teacher in cache.teachers.items():
        logits_C = facts["signals"].get(qualified(LOGITS, name))
        if logits_C is not None:
            prediction = prediction_text(
                logits_C, teacher["classes"], teacher.get("task") or cache.task
            )
            lines.append(f"teacher {name}".strip() + f": {prediction}")
    return "\n".join(map(plot_text, lines))


def plot_chart(draw: Callable[[Any], None], height_inches: float, file: Path) -> None:
    """Draw a chart that draws itself.

    Parameters
    ----------
    draw : callable
        Gets the axes.
    height_inches : float
        Of the picture.
    file : Path
        PNG to write.
    """
    figure, axis = _matplotlib().subplots(figsize=(7.0, height_inches), layout="constrained")
    draw(axis)
    _save(figure, file)


def plot_attentions(clips: Sequence[ClipPanel], sample_rate_hz: int, file: Path) -> None:
    """Draw clips beside each other, each one's log-mel over its curves (as paper A's figure 2).

    Parameters
    ----------
    clips : sequence of ClipPanel
        One column each.
    sample_rate_hz : int
        Rate of the waveforms.
    file : Path
        PNG to write.
    """
    pyplot = _matplotlib()
    width = COLUMN_INCHES[len(clips) > 1] * len(clips)
    figure, axes = pyplot.subplots(
        2, len(clips), figsize=(width, 4.6), sharex="col", layout="constrained", squeeze=False
    )
    for clip, (top, bottom) in zip(clips, axes.T, strict=True):
        _draw_clip(clip, sample_rate_hz, top, bottom)
    axes[1, 0].legend(fontsize=8, frameon=False)
    axes[1, 0].set_ylabel("attention [1/s]")
    _save(figure, file)


def _draw_clip(clip: ClipPanel, sample_rate_hz: int, top: Any, bottom: Any) -> None:
    _draw_log_mel(top, clip.samples_S, sample_rate_hz)
    for name, (times_T, attention_T) in clip.curves.items():
        # As a density, so that curves of different frame rates compare.
        hop_s = times_T[1] - times_T[0] if len(times_T) > 1 else 1.0
        bottom.plot(
            times_T, attention_T / hop_s, label=plot_text(name), lw=1.8, color=INK.get(name)
        )
    for axis in (top, bottom):
        _mark(axis, clip.place_s, clip.place_name, shade=axis is bottom)
    top.set_xlim(0, len(clip.samples_S) / sample_rate_hz)
    top.set_title("\n".join(map(plot_text, clip.title.splitlines())), fontsize=10)
    bottom.set(xlabel="time [s]", ylim=(0, None))


def _mark(axis: Any, place_s: tuple[float, float] | None, name: str, *, shade: bool) -> None:
    """Shade a stretch of a curve; on an image draw its two edges."""
    if place_s is None:
        return
    if shade:
        axis.axvspan(*place_s, color="#fdae61", alpha=0.25, lw=0, label=plot_text(name))
        return
    for edge_s in place_s:
        axis.axvline(edge_s, color="white", ls="--", lw=1)


def _save(figure: Any, file: Path) -> None:
    picture = io.BytesIO()
    with warnings.catch_warnings():
        missing = _collect_missing_glyphs()
        figure.savefig(picture, dpi=130, format=file.suffix[1:].lower())
    write_atomic(file, picture.getvalue())
    _matplotlib().close(figure)
    if missing:
        echo(
            f"warning: {file}: matplotlib's font has no {''.join(sorted(missing))}, drawn as "
            "boxes; font.family in a file matplotlibrc names another font",
            err=True,
        )


def _collect_missing_glyphs() -> set[str]:
    """From here on, collect the characters that a font lacks, in place of a warning for each."""
    usual, missing = warnings.showwarning, set[str]()

    def collect(message: Warning | str, *place: Any, **more: Any) -> None:
        if found := _NO_GLYPH.match(str(message)):
            missing.add(chr(int(found[1])))
        else:
            usual(message, *place, **more)

    warnings.filterwarnings("always", _NO_GLYPH.pattern)
    warnings.showwarning = collect
    return missing


def _draw_waveform(axis: Any, cache: Cache, samples_S: NDArray[np.float64]) -> None:
    _draw_log_mel(axis, samples_S.astype(np.int16), cache.sample_rate_hz)


def _draw_log_mel(axis: Any, samples_S: NDArray[np.int16], sample_rate_hz: int) -> None:
    picture = log_mel(samples_S, sample_rate_hz)
    axis.imshow(
        picture.bands_TM.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=picture.floor,
        extent=(*picture.span_s, 0, picture.bands_TM.shape[1]),
        interpolation="nearest",
    )
    ticks = picture.ticks()
    axis.set_yticks(list(ticks), list(ticks.values()))
    axis.set_ylabel("log-mel [Hz]")


def _times(cache: Cache, name: str, frames: int) -> NDArray[np.float64]:
    spec = cache.signals[name]
    first_s, hop_s = spec.first_frame_s or 0.0, spec.hop_s or 1.0
    return np.asarray(first_s + hop_s * np.arange(frames), np.float64)


def _end_s(cache: Cache, name: str, values: NDArray[Any]) -> float:
    """When the last sample or frame of a signal ends."""
    return float(_times(cache, name, len(values))[-1]) + (cache.signals[name].hop_s or 0.0) / 2


def _draw_temporal(axis: Any, cache: Cache, attention_T: NDArray[np.float64]) -> None:
    axis.plot(
        _times(cache, TEMPORAL_ATTENTION, len(attention_T)), attention_T, color=INK["teacher"]
    )
    axis.set(ylabel="temporal\nattention", ylim=(0, None))


def _draw_layers(axis: Any, cache: Cache, layers_TL: NDArray[np.float64]) -> None:
    times_T = _times(cache, LAYER_ATTENTION, len(layers_TL))
    half = (cache.signals[LAYER_ATTENTION].hop_s or 0) / 2
    axis.imshow(
        layers_TL.T,
        origin="lower",
        aspect="auto",
        cmap="viridis",
        interpolation="nearest",
        extent=(times_T[0] - half, times_T[-1] + half, 0.5, layers_TL.shape[1] + 0.5),
    )
    axis.set_ylabel("layer")


def _draw_map(axis: Any, cache: Cache, map_TT: NDArray[np.float64]) -> None:
    times_T = _times(cache, ATTENTION_MAP, len(map_TT))
    half = (cache.signals[ATTENTION_MAP].hop_s or 0) / 2
    span = (times_T[0] - half, times_T[-1] + half)
    axis.imshow(map_TT, origin="lower", aspect="auto", cmap="viridis", extent=(*span, *span))
    axis.set_ylabel("rolled-out map\nquery time [s]")


_PANELS = {
    WAVEFORM: _draw_waveform,
    TEMPORAL_ATTENTION: _draw_temporal,
    LAYER_ATTENTION: _draw_layers,
    ATTENTION_MAP: _draw_map,
}

DRAWN_SIGNALS = tuple(_PANELS)
