"""The page that runs an exported student in a browser, with the runtime that its user has fetched."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from cache_schema.errors import UsageError, bullet_list
from cache_schema.store.files import write_atomic
from cache_schema.store.safe_open import read_plain

PAGE = ("index.html", "style.css", "page.js", "student.js", "sound.js", "recorder.js", "chart.js")
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
MODEL = "model.onnx"
MAX_RUNTIME_BYTES = 64 << 20


def read_runtime(folder: Path) -> dict[str, bytes]:
    """Read onnxruntime-web's files from its ``dist`` folder, by name.

    Raises
    ------
    UsageError
        If one is missing or cannot be one of them.
    """
    found, problems = dict[str, bytes](), []
    for name in RUNTIME:
        try:
            found[name] = read_plain(folder / name, MAX_RUNTIME_BYTES)
        except OSError as error:
            problems.append(f"{name}: {error.strerror}")
    if problems:
        raise UsageError(
            f"--page {folder}: not the dist folder of onnxruntime-web; {len(problems)} problem(s)\n"
            f"{bullet_list(problems)}\nFetch it: npm install onnxruntime-web, and give "
            "node_modules/onnxruntime-web/dist",
            kind="page",
        )
    return found


def write_page(folder: Path, runtime: dict[str, bytes]) -> None:
    """Write the page and its runtime beside the file and the card that it reads."""
    source = files("student.export") / "page"
    for name in PAGE:
        write_atomic(folder / name, (source / name).read_bytes())
    for name, content in runtime.items():
        write_atomic(folder / name, content)
