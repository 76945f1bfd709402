"""The device card: all there is to know of an exported file, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cache_schema.store.files import write_atomic
from cache_schema.text import json_text, markdown

CARD, PAGE = "card.json", "CARD.md"
_ORIGIN = ("corpus_fingerprint", "cache_sha256", "seed", "label_weight", "plugins")


def origin_of(config: dict[str, Any]) -> dict[str, Any]:
    """Where a run's weights come from, by its settings."""
    losses = [
        {"loss": str(loss["name"]), "teachers": [str(t) or "first" for t in loss["teachers"]]}
        for loss in config["distill"]
    ]
    reported = {key: str(config[key]) for key in _ORIGIN if config.get(key) is not None}
    return {"distilled_by": losses, **reported}


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write ``card.json`` and ``CARD.md``."""
    write_atomic(folder / CARD, f"{json_text(card, indent=2, allow_nan=False)}\n".encode())
    write_atomic(folder / PAGE, ("\n".join(_page(card)) + "\n").encode())


def _page(card: dict[str, Any]) -> Iterator[str]:
    contract, cost = card["contract"], card["cost"]
    yield f"# {markdown(contract['student'])}, {card['format']}, {card['precision']}"
    yield ""
    yield _form_line(contract)
    if card["why_length"]:
        yield f"The length was chosen by the clips: {markdown(card['why_length'])}."
    yield f"Task: {contract['task']}-label, {len(contract['classes'])} classes:"
    yield ", ".join(markdown(name) for name in contract["classes"]) + "."
    yield ""
    yield from _table(("file", "bytes"), [(n, f"{b:,}") for n, b in card["files"].items()])
    yield from _tensors(card)
    yield "## Parity"
    yield ""
    yield from _parities(card)
    yield "## Cost"
    yield ""
    yield from _table(("what", "value"), [*_costs(cost), *card["format_facts"].items()])
    machine = card["machine"]
    yield f"Latency on one thread of {markdown(machine['cpu'])} (load {machine['load_average']})."
    yield ""
    yield "## Front end"
    yield ""
    yield from _front_end(contract)
    yield "## Where it comes from"
    yield ""
    yield f"Weights: SHA-256 {contract['weights_sha256']}."
    for key, value in card["origin"].items():
        yield f"{markdown(key)}: {markdown(_plain(value))}."
    yield ""
    yield "Versions: " + ", ".join(f"{n} {markdown(v)}" for n, v in card["versions"].items()) + "."


def _form_line(contract: dict[str, Any]) -> str:
    rate_hz = contract["sample_rate_hz"]
    if contract["form"] == "step":
        return (
            f"One call for each frame, every {1e3 * contract['hop_s']:g} ms; each `next_state_I` goes "
            "into `state_I` of the next call, and all states begin at zero. The logits are those of "
            "the audio so far."
        )
    if contract["form"] == "dynamic":
        frames = contract["shortest_frames"]
        filled = (
            " Shorter ones are filled up with silence, to which a student may answer otherwise."
        )
        return f"Clips of any length from {frames} frame(s) on, at {rate_hz} Hz.{filled * (frames > 1)}"
    samples = contract["length_samples"]
    return (
        f"Clips of {samples} samples ({samples / rate_hz:g} s at {rate_hz} Hz), {contract['frames']} "
        "frames."
    )


def _tensors(card: dict[str, Any]) -> Iterator[str]:
    rows = [
        (way, t["name"], " × ".join(map(str, t["shape"])), t["dtype"], _plain(t["scale"]))
        for way in ("inputs", "outputs")
        for t in card["tensors"][way]
    ]
    yield from _table(("", "tensor", "shape", "type", "scale"), rows)


def _parities(card: dict[str, Any]) -> Iterator[str]:
    header = (
        "",
        "clips",
        "same class",
        "largest difference",
        "metric",
        "student",
        "file",
        "of held-out clips",
    )
    rows = []
    for name, parity in card["parity"].items():
        held_out = parity["held_out"]
        scores = (parity["metric"], held_out["student"], held_out["file"])
        rows.append((name, parity["clips"], f"{parity['agreement']:.2%}",
                     f"{parity['largest_difference']:.2g}", *map(_plain, scores),
                     held_out["clips"]))  # fmt: skip
    yield from _table(header, rows)
    first = next(iter(card["parity"].values()))
    yield f"Tried on {markdown(first['source'])}."
    if first["scores"]["clips"] and not first["held_out"]["clips"]:
        yield "None of them is held out from training, so how good the student is is not known."
    if first["unfilled"]["clips"]:
        yield (
            f"Silence fills {first['unfilled']['clips']} of the held-out clips up to its length; "
            f"with these on their own sound the student's {first['metric']} of all of them is "
            f"{_plain(first['unfilled']['student'])}."
        )
    if first["shapes"]:
        shapes = ", ".join(f"{clips} × {frames}" for clips, frames in first["shapes"])
        yield f"Also in batches of clips × frames: {shapes}."
    if card["quantised"]:
        yield f"In int8: {markdown(card['quantised'])}."
    if card["calibration"]:
        yield f"Calibrated with {markdown(card['calibration'])}."
    yield ""


def _costs(cost: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        ("parameters", f"{cost['parameters']:,}"),
        (f"multiply-accumulates of {cost['of']}", f"{cost['macs']:,}"),
        (f"peak of activations of {cost['of']}, float32", f"{cost['peak_activation_bytes']:,} bytes"),
        *((f"{name} latency, p50 / p95", f"{found['p50_ms']:.3g} / {found['p95_ms']:.3g} ms")
          for name, found in cost["latency"].items()),
    ]  # fmt: skip


def _front_end(contract: dict[str, Any]) -> Iterator[str]:
    spec = contract["front_end"]
    where = "in the graph" if contract["takes"] == "waveform" else "before the graph"
    steps = (
        f"`{spec['name']}`, {where}: samples in [-1, 1) at {spec['sample_rate_hz']} Hz; windows of "
        f"{spec['window_samples']} samples every {spec['hop_samples']}, times `front_end_window`; "
        f"magnitudes of a {spec['dft_samples']}-point DFT; times `front_end_mel`; natural logarithm of "
        f"at least {spec['log_floor']:g}"
    )
    yield steps + ("." if spec["coefficients"] is None else "; times `front_end_dct`.")
    yield "The tables, clips and their right outputs are in `test_vectors.npz`."
    yield ""


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"| {' | '.join('---' for _ in header)} |"
    for row in rows:
        yield f"| {' | '.join(markdown(_plain(value)) for value in row)} |"
    yield ""


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    return str(value)
