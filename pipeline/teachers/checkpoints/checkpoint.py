"""A Hugging Face checkpoint on this machine: found or downloaded, identified, not yet loaded.

Weights are read from safetensors only, and no code of a checkpoint is ever run: transformers gets the
settings and tensors that were read here and never the folder, where it would follow adapters,
quantisers, kernels and file names that a configuration may request.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import inspect
import json
import os
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cache_schema.errors import MAX_LISTED, AftersoundError, RunError, UsageError, bullet_list
from cache_schema.folder_kinds import instead_of_teacher
from cache_schema.git_lfs import POINTER, is_pointer
from cache_schema.paths import absent, path_problem
from cache_schema.plugins import unknown_name
from pipeline.teachers.checkpoints.config_checks import check_settings, unusable_settings
from pipeline.teachers.checkpoints.files import (
    CONFIG,
    PREPROCESSOR,
    check_links_stay_inside,
    read_settings,
    weight_files,
)

if TYPE_CHECKING:
    from torch import Tensor

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
_VOLATILE_KEYS = frozenset({"_name_or_path", "transformers_version"})
_STORED_DTYPES = ("float16", "bfloat16", "float32", "float64")
_HEAD = ("classifier.", "projector.")
# A fresh head, and what a base without one needs beside its weights.
_NEW_NUMBERS = 1 << 26

Result = TypeVar("Result")


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
    foreign : mapping
        What config.json has beyond the architecture's own settings: part of the digest, never used.
    """

    folder: Path
    id: str
    revision: str | None
    config: Any = field(repr=False)
    extractor: Any = field(repr=False)
    weight_files: tuple[Path, ...]
    foreign: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def model_type(self) -> str:
        """Name the architecture, as config.json does."""
        return str(self.config.model_type)

    @property
    def has_head(self) -> bool:
        """Return whether the weights include a classifier; read from the files' headers."""
        return any(name.startswith("classifier.") for name in _tensor_names(self.weight_files))

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
        stored = self.stored_tensors()
        return {n.partition(part)[2]: t.float() for n, t in stored.items() if part in n}

    def stored_tensors(self) -> dict[str, Tensor]:
        """Read all stored tensors as they are."""
        found: dict[str, Tensor] = {}
        for path in self.weight_files:
            with _opened(path, "pt") as file:
                found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return found

    def changed(self, **settings: Any) -> Checkpoint:
        """Give the same weights with other settings in the configuration."""
        config = copy.deepcopy(self.config)
        for name, value in settings.items():
            setattr(config, name, value)
        return replace(self, config=config)

    def config_sha256(self) -> str:
        """Digest config.json and preprocessor_config.json without what varies by machine."""
        parts = ({**self.foreign, **self.config.to_dict()}, self.extractor.to_dict())
        settings = [{k: v for k, v in part.items() if k not in _VOLATILE_KEYS} for part in parts]
        canonical = json.dumps(settings, sort_keys=True, default=_as_list)
        return hashlib.sha256(canonical.encode()).hexdigest()


def _tensor_names(files: tuple[Path, ...]) -> list[str]:
    """List the tensors by the files' headers.

    Raises
    ------
    RunError
        If a file is damaged.
    """
    from safetensors import SafetensorError

    names: list[str] = []
    for path in files:
        try:
            with _opened(path, "numpy") as file:
                names += file.keys()
        except SafetensorError as error:
            found = POINTER if is_pointer(path) else f"damaged or no safetensors file ({error})"
            raise RunError(
                f"{path} is {found}; copy it again from where the checkpoint came from",
                kind="damaged",
            ) from None
    return names


def _opened(path: Path, framework: str) -> Any:
    """Open a file of weights; safetensors calls one missing that may not be read."""
    from safetensors import safe_open

    path.open("rb").close()
    return safe_open(path, framework=framework)


def _as_list(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def open_checkpoint(text: str, model_types: Collection[str]) -> Checkpoint:
    """Open a local folder or a hub id, optionally with ``@revision``.

    Parameters
    ----------
    text : str
        ``runs/teacher``, ``openai/whisper-base`` or ``openai/whisper-base@COMMIT``.
    model_types : collection of str
        The architectures that can be used; others are rejected.

    Raises
    ------
    UsageError
        If the checkpoint is of another architecture, has no safetensors file, has settings that
        cannot be used (all are listed), or would have files read from outside its folder.
    RunError
        If it is neither a folder nor a hub id that can be reached, or is incomplete or damaged.
    """
    folder = Path(os.path.expanduser(text))
    is_local = bool(text) and folder.is_dir()
    if not is_local and (problem := path_problem(text)):
        raise UsageError(f"model {text!r}: {problem}", kind="usage")
    if not is_local:
        folder = _download(text)
    settings = _checked_architecture(folder, text, model_types)
    files = weight_files(folder, text)
    config, extractor = _read_settings(folder, text, settings, tensors=len(_tensor_names(files)))
    stated = translate_errors(
        lambda: type(config).from_dict(settings), f"config.json of {text}"
    ).to_dict()
    known = config.to_dict()
    return Checkpoint(
        folder=folder,
        id=folder.resolve().name if is_local else text.partition("@")[0],
        revision=None if is_local else folder.name,
        config=config,
        extractor=extractor,
        weight_files=files,
        foreign={key: value for key, value in stated.items() if key not in known},
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


def _checked_architecture(folder: Path, text: str, model_types: Collection[str]) -> dict[str, Any]:
    """Read config.json and reject architectures that no family here reads."""
    if other := instead_of_teacher(folder):
        raise UsageError(other, kind="usage")
    if not (folder / CONFIG).is_file():
        raise RunError(
            f"{text} has no {absent(folder, CONFIG)}, so it is no checkpoint in the Hugging Face "
            "layout; make one with finetune-teacher or save_pretrained",
            kind="incomplete",
        )
    settings = read_settings(folder, CONFIG, text)
    model_type = settings.get("model_type", "")
    if not isinstance(model_type, str) or model_type not in model_types:
        raise unknown_name(str(model_type), model_types, f"architecture (model_type of {text})")
    return settings


def _read_settings(
    folder: Path, text: str, settings: dict[str, Any], *, tensors: int
) -> tuple[Any, Any]:
    """Make the configuration and the feature extractor, checked before anything is built of them."""
    from transformers import CONFIG_MAPPING, FEATURE_EXTRACTOR_MAPPING, ASTFeatureExtractor

    if not (folder / PREPROCESSOR).is_file():
        raise RunError(
            f"{text} has no {absent(folder, PREPROCESSOR)}, so its input features are unknown; copy "
            "that file from the checkpoint it was made from",
            kind="incomplete",
        )
    config_class = CONFIG_MAPPING[settings["model_type"]]
    config = translate_errors(
        lambda: config_class(**_known_settings(config_class, settings)), f"config.json of {text}"
    )
    features = read_settings(folder, PREPROCESSOR, text)
    cnn = settings["model_type"] == "efficientnet"
    extractor_class = ASTFeatureExtractor if cnn else FEATURE_EXTRACTOR_MAPPING[config_class]
    known = inspect.signature(extractor_class.__init__).parameters.keys() | {"padding_side"}
    kept = {key: value for key, value in features.items() if key in known - {"self", "kwargs"}}
    if "image_processor_type" in features:
        kept = {}  # an image classifier, to be fine-tuned on audio
    with _empty_filter_allowed():
        check_settings(config, {**vars(extractor_class()), **kept}, tensors, text)
        extractor = translate_errors(lambda: extractor_class(**kept), f"{PREPROCESSOR} of {text}")
    return config, extractor


def _known_settings(config_class: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Keep what the architecture declares and what is ours; any other key may request anything."""
    known = {field.name for field in dataclasses.fields(config_class)}
    known |= config_class.attribute_map.keys() | {"num_labels"}
    kept = {k: v for k, v in settings.items() if k in known or k.startswith("aftersound_")}
    kept.setdefault("dtype", settings.get("torch_dtype"))  # its name until transformers 4.56
    if kept.get("dtype") not in _STORED_DTYPES:
        kept.pop("dtype", None)
    return kept


def translate_errors(make: Callable[[], Result], what: str) -> Result:
    """Let transformers make something of settings; whatever it raises is about the settings.

    Raises
    ------
    UsageError
        With what transformers reported.
    """
    try:
        return make()
    except AftersoundError:
        raise
    except Exception as error:  # a library's errors over foreign settings are of every kind
        message = " ".join(str(error).split())[:300]
        raise unusable_settings(what, [f"{type(error).__name__}: {message}"]) from error


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
        If weights other than the classification head are missing, of another shape, or far fewer
        than the configuration describes.
    """
    import torch
    from transformers import (
        MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    )
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # To transformers a spectrogram is an image.
    cnn = checkpoint.model_type == "efficientnet"
    classes = (
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING if cnn else MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING
    )
    model_class = classes[type(checkpoint.config)]
    check_links_stay_inside(checkpoint.folder, checkpoint.weight_files, checkpoint.id)
    stored = checkpoint.stored_tensors()
    _check_parameters(checkpoint, model_class, stored)
    model, info = translate_errors(
        lambda: model_class.from_pretrained(
            None,
            config=copy.deepcopy(checkpoint.config),
            state_dict=stored,
            dtype=torch.float32,
            attn_implementation=attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        ),
        checkpoint.id,
    )
    _check_weight_names(checkpoint, info, new_head=new_head)
    if new_head:
        for module in model.classifier.modules():
            if isinstance(module, torch.nn.Linear):
                module.reset_parameters()
    return model


def _check_parameters(checkpoint: Checkpoint, model_class: Any, stored: dict[str, Tensor]) -> None:
    """Reject a configuration far larger than its weights before memory is taken for it, and integers."""
    import torch

    config = copy.deepcopy(checkpoint.config)
    with torch.device("meta"):
        model = translate_errors(lambda: model_class(config), checkpoint.id)
    described = sum(parameter.numel() for parameter in model.parameters())
    held = sum(tensor.numel() for tensor in stored.values())
    if described > 2 * held + _NEW_NUMBERS:
        raise RunError(
            f"{checkpoint.id}: config.json describes {described} weights, the files hold {held}; they "
            "do not belong together. Copy both from where the checkpoint came from",
            kind="incomplete",
        )
    names = dict(model.named_parameters())
    whole = [n for n, tensor in stored.items() if n in names and not tensor.is_floating_point()]
    if whole:
        raise RunError(
            f"{checkpoint.id}: {len(whole)} weights are integers, as {whole[0]} "
            f"({str(stored[whole[0]].dtype).removeprefix('torch.')}), expected floating-point numbers. "
            "Copy the checkpoint as it was before it was quantised or converted",
            kind="incomplete",
        )


def _check_weight_names(checkpoint: Checkpoint, info: Any, *, new_head: bool) -> None:
    """Reject weights that are missing or of another shape, but those of a head that is made anew.

    The stem of an image classifier is made anew with its head.
    """
    fresh = (*_HEAD, "efficientnet.embeddings.convolution.") if new_head else ()
    pooling = getattr(checkpoint.config, "aftersound_pooling", None)
    # A head that is made anew, one of our own (attention pooling), or none at all.
    headless = new_head or pooling == "attention" or not checkpoint.has_head
    shapes = sorted(entry for entry in info["mismatched_keys"] if not entry[0].startswith(fresh))
    problems = [
        f"{name} has shape {tuple(theirs)}, config.json makes it {tuple(ours)}"
        for name, theirs, ours in shapes
    ]
    missing = [n for n in info["missing_keys"] if not (headless and n.startswith(_HEAD))]
    if any("masked_spec_embed" not in name for name in missing):
        problems += [f"{name} is missing" for name in sorted(missing)]
    if problems:
        raise RunError(
            f"{checkpoint.id} lacks {len(problems)} weights of a {checkpoint.model_type} model\n"
            f"{bullet_list(problems, MAX_LISTED)}\nSave the whole model with save_pretrained",
            kind="incomplete",
        )
