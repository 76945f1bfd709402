"""kill -9 wherever a run touches its cache, at every stage: the short version of `aimed_kills.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from aimed_kills import stage_of
from commands import plain_environment, succeeded

SCRIPT = Path(__file__).with_name("aimed_kills.py")


def test_a_run_killed_at_random_stages_completes_to_equal_bytes_and_shows_no_wrong_row(
    tmp_path: Path,
) -> None:
    # A process of its own: it forks, and a test worker has threads.
    run = subprocess.run(
        [sys.executable, SCRIPT, "6", tmp_path],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=plain_environment(),
    )
    assert "bytes equal after each" in succeeded(run)


def test_a_touched_path_reports_the_stage() -> None:
    stages = {
        "corpus/train/low/0.flac": "computing",
        "c.zarr.draft.partial/clips/id_bytes/c/0": "planning",
        "c.zarr/parts/part-001/logits/zarr.json.7.partial": "restoring",
        "c.zarr/parts/part-001.draft.partial/plan.json": "laying out a part",
        "c.zarr/parts/part-000/logits/c/2/0": "writing",
        "c.zarr/parts/part-000/commits/000002.json.7.partial": "committing",
        "c.zarr/parts/part-000/unsealed/000002.sha256": "committing",
        "c.zarr/parts/part-000/index.draft.partial/row_usable/zarr.json": "sealing",
        "c.zarr/manifest.json.7.partial": "sealing",
    }
    assert {path: stage_of(path) for path in stages} == stages
