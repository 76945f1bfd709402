"""Adapt a pretrained model to a corpus' labels and write it as a Hugging Face folder.

While a run is unfinished, ``OUT.partial`` holds its recipe and the state after each epoch; the same
command continues there. The finished folder appears at OUT in one rename.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from cache_schema.errors import RunError, UsageError, bullet_list
from cache_schema.own_folder import check_own_folder
from cache_schema.plugins import load_plugin, plugin_names
from cache_schema.store.files import canonical_json, change_mode, sha256, umask, write_atomic
from cache_schema.store.lock import write_lock
from cache_schema.store.safe_open import check_no_links
from cache_schema.text import shell_word
from pipeline.corpora.interface import Corpus
from pipeline.finetune.data import LabelledAudio, labelled_clips
from pipeline.finetune.model_card import model_card
from pipeline.finetune.recipe import FineTuneRecipe, resolved_precision
from pipeline.finetune.saved_state import FACTS_FILE, STATE_FILE
from pipeline.finetune.training_loop import FineTuning
from pipeline.precompute.plan import corpus_facts, order_clips
from pipeline.precompute.usable_lengths import check_some_clip_fits
from pipeline.teachers import MODEL_TYPES
from pipeline.teachers.checkpoints.checkpoint import Checkpoint, open_checkpoint
from pipeline.teachers.hugging_face import HuggingFaceTeacher, Pooling
from pipeline.views import ViewRecipe, view_context

Report = Callable[[str], None]

_TRAINING_FILE, _FINISHED_FOLDER = "training.json", "finished"
_COMMAND = "finetune-teacher"
NEEDED_SPLITS = ("train", "validation")
_RESULT_KEYS = ("facts", "metric", "best_epoch", "validation", "test", "epochs")


def finetune(
    corpus: Corpus,
    base: str,
    out: Path,
    *,
    recipe: FineTuneRecipe,
    pooling: Pooling | None = None,
    device: str = "cpu",
    finish: bool = False,
    report: Report,
) -> dict[str, Any]:
    """Fine-tune `base` on the train split of `corpus`, choose by validation, write `out`.

    Parameters
    ----------
    corpus : Corpus
        Needs the splits train and validation; test is scored if there is one.
    base : str
        Hugging Face folder or hub id.
    out : Path
        The folder to make.
    recipe : FineTuneRecipe
        How to train.
    pooling : {"first", "mean", "attention"}, optional
        What the head classifies, among the poolings of the base's family; by default the family's
        first. For transformers of frames that is ``first``, as in Choi et al. 2022, figure 1.
    device : str
        Torch device.
    finish : bool
        Train no further: the best epoch of a run that was stopped is the teacher.
    report : callable
        Called with progress, line by line.

    Returns
    -------
    dict
        What training.json holds.

    Raises
    ------
    UsageError
        If `out` is or was being made by another configuration, or an option does not fit base or
        device.
    RunError
        If the corpus lacks a split, training diverges, another process writes `out`, or there is no
        epoch to finish with.
    """
    if Path(base).is_dir() and Path(base).resolve() == out.resolve():
        raise UsageError(
            f"--out {out} is the --base itself, which stays as it is. Choose another --out",
            kind="out",
        )
    check_own_folder(out, "teacher", _COMMAND, (_TRAINING_FILE,))
    # It is removed at the end.
    check_own_folder(_partial(out), "unfinished teacher", _COMMAND, (FACTS_FILE, STATE_FILE))
    if _partial(out).is_symlink():
        raise UsageError(
            f"{_partial(out)} is a link, and nothing is written through it. Delete it, or choose "
            "another --out",
            kind="link",
        )
    for split in NEEDED_SPLITS:
        labelled_clips(corpus, split)
    recipe = replace(recipe, precision=resolved_precision(recipe.precision, device))
    teacher = _teacher(
        corpus, open_checkpoint(base, plugin_names(MODEL_TYPES, "model type")), pooling
    )
    views = _view_recipe(corpus, teacher, recipe)
    for split in NEEDED_SPLITS:
        clips = labelled_clips(corpus, split)
        check_some_clip_fits(
            "CORPUS", clips, teacher, teacher.sample_rate_hz, views, further=False, split=split
        )
    facts = _facts(corpus, teacher, recipe, views)
    if finish and not any(
        file.is_file() for file in (out / _TRAINING_FILE, _partial(out) / STATE_FILE)
    ):
        raise RunError(
            f"--finish: no epoch of a training of {out} is finished. Leave --finish out and let it "
            "train at least one",
            kind="missing",
        )
    with write_lock(out):
        return _finetune(corpus, teacher, facts, recipe, views, out, device, finish, report)


def _partial(out: Path) -> Path:
    """Folder of an unfinished run."""
    return out.resolve().with_name(f"{out.resolve().name}.partial")


def _finetune(
    corpus: Corpus,
    teacher: HuggingFaceTeacher,
    facts: dict[str, Any],
    recipe: FineTuneRecipe,
    views: ViewRecipe,
    out: Path,
    device: str,
    finish: bool,
    report: Report,
) -> dict[str, Any]:
    partial = _partial(out)
    check_no_links(out, "teacher", error=RunError)
    check_no_links(partial, "unfinished teacher", error=RunError)
    if (out / _TRAINING_FILE).is_file():
        done = _read(out / _TRAINING_FILE, *_RESULT_KEYS)
        _check_same_run(out, done["facts"], facts)
        shutil.rmtree(partial, ignore_errors=True)
        report(f"already done: {out}: {_summary(done)}")
        report(_next_command(out))
        return done
    _attach_model(teacher, recipe, device)
    _open_run_folder(partial, facts)
    training = _train(corpus, teacher, recipe, views, partial, finish, report)
    result = {"facts": facts, **_results(training)}
    _write_folder(partial / _FINISHED_FOLDER, teacher, result)
    (partial / _FINISHED_FOLDER).replace(out.resolve())  # a link's folder, not the link
    shutil.rmtree(partial)
    report(f"wrote {out}: {_summary(result)}")
    report(_next_command(out))
    return result


def _next_command(out: Path) -> str:
    return f"Next: precompute-teacher CORPUS --teacher {shell_word(out)} --out CACHE"


def _teacher(corpus: Corpus, base: Checkpoint, pooling: Pooling | None) -> HuggingFaceTeacher:
    """Make an adapter for the base model with the corpus' classes."""
    teacher_class = load_plugin(MODEL_TYPES, base.model_type, "model type")
    _check_pooling(pooling, base, teacher_class.poolings)
    settings: dict[str, Any] = {
        "id2label": dict(enumerate(corpus.classes)),
        "label2id": {name: index for index, name in enumerate(corpus.classes)},
        "problem_type": f"{corpus.task}_label_classification",
        "aftersound_task": corpus.task,
    }
    if teacher_class.poolings:
        settings["aftersound_pooling"] = pooling or teacher_class.poolings[0]
    if hasattr(base.config, "apply_spec_augment"):
        settings["apply_spec_augment"] = False  # --spec-augment hides parts, and nothing else does
    teacher: HuggingFaceTeacher = teacher_class(base.changed(**settings))
    return teacher


def _check_pooling(pooling: Pooling | None, base: Checkpoint, choices: tuple[str, ...]) -> None:
    if pooling is None or pooling in choices:
        return
    takes = f"takes {' or '.join(choices)}" if choices else "has its own. Leave out --pooling"
    raise UsageError(
        f"--pooling {pooling} does not apply to {base.id}: {base.model_type} {takes}",
        kind="options",
    )


def _facts(
    corpus: Corpus, teacher: HuggingFaceTeacher, recipe: FineTuneRecipe, views: ViewRecipe
) -> dict[str, Any]:
    """Collect what the result depends on, without any path of this machine."""
    listing = [
        (
            c.id,
            c.path,
            (None,) if c.none_present else c.labels,
            c.split,
            c.start_s,
            c.end_s,
            c.frames,
        )
        for c in sorted(corpus.clips, key=lambda clip: clip.id)
    ]
    return {
        **({"views": views.texts} if views.texts else {}),
        "base": teacher.checkpoint.id,
        "base_revision": teacher.checkpoint.revision,
        "base_weights_sha256": teacher.provenance["weights_sha256"],
        "model_type": teacher.checkpoint.model_type,
        "sample_rate_hz": teacher.sample_rate_hz,
        "pooling": teacher.pooling,
        "task": corpus.task,
        "classes": list(corpus.classes),
        "clips": dict(Counter(clip.split for clip in corpus.clips)),
        "corpus_sha256": hashlib.sha256(json.dumps(listing).encode()).hexdigest(),
        **asdict(recipe),
    }


def _open_run_folder(partial: Path, facts: dict[str, Any]) -> None:
    """Start or continue the folder of an unfinished run."""
    path = partial / FACTS_FILE
    if path.is_file():
        _check_same_run(partial, _read(path), facts)
    elif (partial / STATE_FILE).exists():
        raise RunError(
            f"{partial} holds a training without its {FACTS_FILE}. {_other_out(partial)}",
            kind="damaged",
        )
    partial.mkdir(parents=True, exist_ok=True)
    write_atomic(path, _json(facts))


def _read(path: Path, *keys: str) -> dict[str, Any]:
    """Read what an earlier command wrote, and check that it is an object with these keys."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not document.keys() >= set(keys):
        raise RunError(
            f"{path} is damaged, or another version wrote it. {_other_out(path.parent)}",
            kind="damaged",
        )
    return document


def _other_out(folder: Path) -> str:
    return f"Choose another --out, or delete {folder} to train anew."


def _check_same_run(folder: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    ours = json.loads(json.dumps(ours))
    # What the base is called may change; its weights may not.
    differing = [
        f"{name}: there {_shown(theirs.get(name))}, this run {_shown(ours.get(name))}"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name) and name not in ("base", "base_revision")
    ]
    if differing:
        raise UsageError(
            f"{folder} belongs to another configuration:\n{bullet_list(differing)}\nNothing was "
            "changed. Choose another --out, or delete that folder to replace it",
            kind="stale",
        )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _attach_model(teacher: HuggingFaceTeacher, recipe: FineTuneRecipe, device: str) -> None:
    """Load the base with a fresh head; see whether its weights are numbers and the recipe fits it."""
    torch.manual_seed(recipe.seed)
    attention = "eager" if teacher.attention_implementation == "eager" else "sdpa"
    teacher.attach_model(teacher.new_model(attention=attention), device)
    weights = teacher.model.named_parameters()
    unused = "masked_spec_embed"  # of a masking that is switched off here
    if broken := [n for n, w in weights if not (n.endswith(unused) or w.isfinite().all())]:
        raise RunError(
            f"--base {teacher.checkpoint.id}: {len(broken)} of its weights hold NaN or infinity, first "
            f"{broken[0]}. Copy it again from where it came from, or name another",
            kind="damaged",
        )
    layers = len(teacher.layers())
    if recipe.freeze_layers > layers:
        raise UsageError(
            f"--freeze-layers {recipe.freeze_layers}: {teacher.checkpoint.id} has {layers} layers; "
            f"{layers} keeps all of them as they are",
            kind="options",
        )


def _train(
    corpus: Corpus,
    teacher: HuggingFaceTeacher,
    recipe: FineTuneRecipe,
    views: ViewRecipe,
    partial: Path,
    finish: bool,
    report: Report,
) -> FineTuning:
    audio = LabelledAudio(
        corpus=corpus,
        sample_rate_hz=teacher.sample_rate_hz,
        min_samples=teacher.min_samples,
        max_samples=teacher.max_samples,
        report=report,
        recipe=views,
    )
    for note in (*corpus.notes, *views.notes):
        report(note)
    for split in NEEDED_SPLITS:
        report(f"{split}: {len(audio.clips(split))} labelled clips")
    training = FineTuning(teacher, audio, recipe, folder=partial, report=report)
    training.run(finish=finish)
    if audio.unusable:
        report(f"{len(audio.unusable)} clips could not be used; {_TRAINING_FILE} lists all")
    return training


def _view_recipe(corpus: Corpus, teacher: HuggingFaceTeacher, recipe: FineTuneRecipe) -> ViewRecipe:
    """Prepare the corpus' views as `pipeline.precompute.precompute` does, with the same seed alike.

    Only labelled clips are partners of a mixup: the loss has no use for the others.
    """
    corpus = replace(corpus, clips=tuple(clip for clip in corpus.clips if clip.labelled))
    clips = order_clips(corpus)
    context = view_context(
        corpus.root, teacher.sample_rate_hz, corpus_facts(corpus, clips), lambda i: clips[i]
    )
    return ViewRecipe(corpus.view_steps, context, seed=recipe.seed)


def _results(training: FineTuning) -> dict[str, Any]:
    best = training.epochs[training.best_epoch - 1]
    return {
        "metric": training.metric,
        "labelled_train_clips": len(training.audio.clips("train")),
        "best_epoch": training.best_epoch,
        "validation": best["validation"],
        "test": training.score("test") if training.audio.has("test") else None,
        "epochs": training.epochs,
        "finished_early": not training.finished(),
        "unusable": dict(sorted(training.audio.unusable.items())),
    }


def _write_folder(folder: Path, teacher: HuggingFaceTeacher, result: dict[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # left by a kill
    # The same training on another machine gives weights that differ by rounding: what was trained,
    # and on what, shows that both are the same teacher.
    recipe = json.loads(json.dumps(result["facts"]))
    del recipe["base"], recipe["base_revision"]
    if result["finished_early"]:
        recipe["finished_after_epochs"] = len(result["epochs"])
    teacher.model.config.aftersound_fine_tuning_sha256 = sha256(canonical_json(recipe))
    try:
        teacher.save(folder)
    except SafetensorError as error:  # of the disk: it is no OSError
        raise RunError(
            f"{folder} cannot be written: {error}. The training is kept. Make room there and repeat the "
            "command.",
            kind="disk",
        ) from None
    for weights in folder.glob("*.safetensors"):  # a Dask worker may be another user
        change_mode(weights, 0o666 & ~umask())
    write_atomic(folder / "README.md", model_card(result["facts"], result).encode())
    write_atomic(folder / _TRAINING_FILE, _json(result))


def _summary(result: dict[str, Any]) -> str:
    test = "" if result["test"] is None else f", test {result['test']:.4f}"
    return (
        f"{result['metric']} validation {result['validation']:.4f}{test} "
        f"(epoch {result['best_epoch']} of {len(result['epochs'])})"
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
