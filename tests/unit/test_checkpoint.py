"""Checkpoints that hold more than their architecture requires."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from cache_schema.errors import AftersoundError, UsageError
from pipeline.teachers import MODEL_TYPES
from pipeline.teachers.checkpoints.checkpoint import open_checkpoint
from pipeline.teachers.checkpoints.random_init import write_untrained_encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_untrained_encoder(tmp_path / "teacher", seed=0)
    return tmp_path / "teacher"


def rewritten(folder: Path, **settings: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def test_what_is_not_used_is_still_part_of_a_teachers_identity(folder: Path) -> None:
    plain = open_checkpoint(str(folder), MODEL_TYPES).config_sha256()
    rewritten(folder, of_its_own=7)
    found = open_checkpoint(str(folder), MODEL_TYPES)
    assert found.config_sha256() != plain
    assert not hasattr(found.config, "of_its_own")
    stated = AutoConfig.from_pretrained(folder).to_dict()
    assert found.foreign == {k: v for k, v in stated.items() if k not in found.config.to_dict()}


def test_the_older_name_of_the_dtype_is_understood(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "float16"}))
    found = open_checkpoint(str(folder), MODEL_TYPES)
    assert found.config.to_dict()["dtype"] == "float16"


def test_an_empty_text_is_no_folder() -> None:
    """Not the working folder, as an empty path would be."""
    with pytest.raises(UsageError, match="model '': it is empty; name a path"):
        open_checkpoint("", MODEL_TYPES)


def test_a_home_folder_of_nobody_is_no_folder() -> None:
    with pytest.raises(AftersoundError, match="~nosuchuser/model"):
        open_checkpoint("~nosuchuser/model", ["whisper"])
