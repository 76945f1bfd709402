"""A Hugging Face checkpoint on this machine: found or downloaded, identified, not yet loaded.

Weights are read from safetensors only, and no code of a checkpoint is ever run.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache_schema.errors import RunError, UsageError
from cache_schema.plugins import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
_VOLATILE_KEYS = frozenset({"_name_or_path", "transformers_version"})


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A folder in the layout of ``save_pretrained``.

    Attributes
    ----------
    folder : Path
        Where it lies on this machine; never recorded.
    id : str
        Hub id, or the name of the local folder.
    revision : str or None
        Commit of the hub repository; None for a local folder.
    config, extractor
        The transformers configuration and feature extractor.
    weight_files : tuple of Path
        The safetensors files, sorted by name.
    """

    folder: Path
    id: str
    revision: str | None
    config: Any = field(repr=False)
    extractor: Any = field(repr=False)
    weight_files: tuple[Path, ...]

    @property
    def model_type(self) -> str:
        """Say which architecture it is, as config.json does."""
        return str(self.config.model_type)

    @property
    def has_head(self) -> bool:
        """Say whether the weights include a classifier; read from the files' headers."""
        return any(name.startswith("classifier.") for name in self._tensor_names())

    def weights_sha256(self) -> str:
        """Digest the bytes of all weight files in order of name."""
        digest = hashlib.sha256()
        for path in self.weight_files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Read the stored tensors with `part` in their names, in float32, by what follows it."""
        from safetensors import safe_open

        found = {}
        for path in self.weight_files:
            with safe_open(path, framework="pt") as file:
                for name in filter(lambda name: part in name, file.keys()):
                    found[name.partition(part)[2]] = file.get_tensor(name).float()
        return found

    def changed(self, **settings: Any) -> Checkpoint:
        """Give the same weights with other settings in the configuration."""
        config = copy.deepcopy(self.config)
        for name, value in settings.items():
            setattr(config, name, value)
        return replace(self, config=config)

    def config_sha256(self) -> str:
        """Digest config.json and preprocessor_config.json without what varies by machine."""
        settings = [
            {key: value for key, value in part.to_dict().items() if key not in _VOLATILE_KEYS}
            for part in (self.config, self.extractor)
        ]
        canonical = json.dumps(settings, sort_keys=True, default=_as_list)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def _tensor_names(self) -> Iterable[str]:
        for path in self.weight_files:
            with path.open("rb") as file:
                header_bytes = int.from_bytes(file.read(8), "little")
                yield from json.loads(file.read(header_bytes))


def _as_list(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def open_checkpoint(text: str, model_types: Mapping[str, str]) -> Checkpoint:
    """Open a local folder or a hub id, optionally with ``@revision``.

    Parameters
    ----------
    text : str
        ``runs/teacher``, ``openai/whisper-base`` or ``openai/whisper-base@COMMIT``.
    model_types : mapping
        The architectures that can be used; others are refused.

    Raises
    ------
    UsageError
        If the checkpoint is of another architecture or has no safetensors file.
    RunError
        If it is neither a folder nor a hub id that can be reached, or is incomplete.
    """
    folder = Path(text).expanduser()
    is_local = folder.is_dir()
    if not is_local:
        folder = _download(text)
    _check_architecture(folder, text, model_types)
    weight_files = tuple(sorted(folder.glob("*.safetensors")))
    if not weight_files:
        raise UsageError(
            f"{text} has no safetensors file; pickled weights (.bin, .pt) can run code and are "
            "never loaded. Convert them in a place you trust: load the model with transformers, "
            "call save_pretrained(FOLDER), and name that folder",
            kind="unsafe",
        )
    config, extractor = _read_settings(folder, text)
    return Checkpoint(
        folder=folder,
        id=folder.resolve().name if is_local else text.partition("@")[0],
        revision=None if is_local else folder.name,
        config=config,
        extractor=extractor,
        weight_files=weight_files,
    )


def _download(text: str) -> Path:
    """Fetch the safetensors and JSON files of a hub repository into the hub's own cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    if not _HUB_ID.fullmatch(text):
        raise RunError(
            f"no teacher folder at {text}, and that is no hub id either. Give a folder made by "
            "finetune-teacher or save_pretrained, a hub id such as openai/whisper-base, or toy",
            kind="missing",
        )
    name, _, revision = text.partition("@")
    try:
        patterns = ["*.safetensors", "*.json"]
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except (OSError, HFValidationError) as error:
        raise RunError(
            f"no teacher folder at {text}, and the hub gave nothing under that id "
            f"({type(error).__name__}: {str(error).splitlines()[0]}). Check the spelling and the "
            "network, or copy the checkpoint here and give its folder",
            kind="missing",
        ) from error


def _check_architecture(folder: Path, text: str, model_types: Mapping[str, str]) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise RunError(
            f"{text} has no config.json, so it is no checkpoint in the Hugging Face layout; "
            "make one with finetune-teacher or save_pretrained",
            kind="incomplete",
        )
    model_type = json.loads(path.read_text(encoding="utf-8")).get("model_type", "")
    if model_type not in model_types:
        raise unknown_name(str(model_type), model_types, f"architecture (model_type of {text})")


def _read_settings(folder: Path, text: str) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoFeatureExtractor

    preprocessor = folder / "preprocessor_config.json"
    if not preprocessor.is_file():
        raise RunError(
            f"{text} has no preprocessor_config.json, so its input features are unknown; copy that "
            "file from the checkpoint it was made from",
            kind="incomplete",
        )
    only = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(folder, **only)
    if "image_processor_type" in json.loads(preprocessor.read_text(encoding="utf-8")):
        return config, new_log_mel_extractor()  # an image classifier, about to learn to hear
    with _empty_filter_allowed():
        return config, AutoFeatureExtractor.from_pretrained(folder, **only)


def new_log_mel_extractor() -> Any:
    """Make the features of AST and its CNN kin: 128 mel bands, normalised by AudioSet's figures."""
    from transformers import ASTFeatureExtractor

    with _empty_filter_allowed():
        return ASTFeatureExtractor()


@contextmanager
def _empty_filter_allowed() -> Iterator[None]:
    """Keep quiet that the lowest of 128 bands over 257 bins is empty: AST was trained so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter", UserWarning)
        yield


def load_model(checkpoint: Checkpoint, *, attention: str, new_head: bool = False) -> Any:
    """Load the classifier of a checkpoint in float32, whatever it was saved in.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to load.
    attention : str
        Name of the attention implementation.
    new_head : bool
        Start the classification layer afresh, from torch's generator.

    Raises
    ------
    RunError
        If weights other than the classification head are missing.
    """
    import torch
    from transformers import AutoModelForAudioClassification, AutoModelForImageClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # To transformers a spectrogram is an image.
    cnn = checkpoint.model_type == "efficientnet"
    classifier = AutoModelForImageClassification if cnn else AutoModelForAudioClassification
    model, info = classifier.from_pretrained(
        checkpoint.folder,
        config=copy.deepcopy(checkpoint.config),
        dtype=torch.float32,
        attn_implementation=attention,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=new_head,
    )
    head = ("classifier.", "projector.")
    missing = [name for name in info["missing_keys"] if not name.startswith(head)]
    if any("masked_spec_embed" not in name for name in missing):
        raise RunError(
            f"{checkpoint.id} lacks {len(missing)} weights of a {checkpoint.model_type} model, "
            f"first {sorted(missing)[0]}; save the whole model with save_pretrained",
            kind="incomplete",
        )
    if new_head:
        for module in model.classifier.modules():
            if isinstance(module, torch.nn.Linear):
                module.reset_parameters()
    return model
