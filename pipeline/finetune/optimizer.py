"""From gradients to weights: what is trained, how fast each layer learns, mixed precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cache_schema.errors import RunError
from pipeline.finetune.recipe import FineTuneRecipe
from pipeline.teachers.hugging_face import HuggingFaceTeacher

_GRADIENT_NORM = 1.0


class Optimizer:
    """AdamW under a one-cycle schedule, over what is not frozen.

    Parameters
    ----------
    teacher : HuggingFaceTeacher
        With a model adopted and frozen as it shall be.
    recipe : FineTuneRecipe
        Learning rate, layer decay and precision.
    steps : int
        Of the whole schedule.
    """

    def __init__(self, teacher: HuggingFaceTeacher, recipe: FineTuneRecipe, *, steps: int) -> None:
        groups = parameter_groups(teacher, recipe.learning_rate, recipe.layer_decay)
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, max_lr=[group["lr"] for group in groups], total_steps=max(2, steps)
        )
        self._learning_rate = recipe.learning_rate
        self._network_begins = first_convolution(teacher)
        self._precision = _precision(recipe.precision, teacher.device.type)

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Compute a forward pass in the recipe's precision, feature extraction in float32.

        On a CPU autocast would round features too, or fail in the extractor, so that it begins
        where the network does.
        """
        with ExitStack() as until_done:

            def begin(*_: Any) -> None:
                until_done.enter_context(self._precision.forward_context())

            with self._network_begins.register_forward_pre_hook(begin):
                yield

    def add_gradient(self, loss: Tensor) -> None:
        """Add the gradient of one batch's share of the loss."""
        self._precision.backward(loss, None)

    def step(self) -> None:
        """Change the weights by the gradients added since the last step.

        Raises
        ------
        RunError
            If they are not finite; the weights stay as they were.
        """
        self._precision.unscale_gradients(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, _GRADIENT_NORM)
        scale = self._loss_scale()
        if not self._precision.state_dict():  # a scaled step is left out by the scaler
            self._check_finite(norm)
        self._precision.optimizer_step(self._optimizer)
        self._optimizer.zero_grad()
        if self._loss_scale() >= scale:  # a float16 overflow lowers it
            self._schedule.step()

    def _loss_scale(self) -> float:
        """Factor of the loss that keeps small gradients in float16; 1 in other precisions."""
        return float(self._precision.state_dict().get("scale", 1))

    def _check_finite(self, norm: Tensor) -> None:
        """Stop before an update that would spoil the weights."""
        if not bool(torch.isfinite(norm)):
            raise RunError(
                f"the norm of the gradient became {float(norm)} in step "
                f"{self._schedule.last_epoch + 1}; the weights were not touched. Repeat with a smaller "
                f"--learning-rate than {self._learning_rate:g} and another --out",
                kind="diverged",
            )

    def state(self) -> dict[str, Any]:
        """Give all that the next step depends on, beside the weights."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._precision.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._precision.load_state_dict(state["scaler"])


def _precision(name: str, device: str) -> Any:
    """Fabric's plug-in of a precision, which `train-student` computes with too."""
    # Imported here: seconds that a refusal need not take.
    from lightning_fabric.plugins.precision import MixedPrecision, Precision

    return Precision() if name == "32-true" else MixedPrecision(name, device)  # type: ignore[arg-type]


def first_convolution(teacher: HuggingFaceTeacher) -> nn.Conv1d | nn.Conv2d:
    """Find where features, or samples, enter the network."""
    modules = teacher.front_end()[0].modules()
    return next(module for module in modules if isinstance(module, nn.Conv1d | nn.Conv2d))


def freeze(teacher: HuggingFaceTeacher, layers: int, *, front_end: bool) -> None:
    """Exclude the first `layers` layers and, with `front_end`, what lies below from training."""
    frozen = teacher.layers()[:layers]
    if front_end:
        frozen += teacher.front_end()
        if hasattr(teacher.model, "freeze_feature_encoder"):
            teacher.model.freeze_feature_encoder()  # else it requires gradients of its input
    for module in frozen:
        module.requires_grad_(False)


def training_mode(model: nn.Module) -> None:
    """Switch dropout and batch statistics on; a frozen batch norm keeps its statistics too."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(
            parameter.requires_grad for parameter in module.parameters()
        ):
            module.eval()


def parameter_groups(
    teacher: HuggingFaceTeacher, learning_rate: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Group what is trained by learning rate, the lowest first.

    What the model lists before its first layer counts as front end, what it lists after its last as
    head, in keeping with ELECTRA (Clark et al. 2020, https://arxiv.org/abs/2003.10555, appendix B).

    Parameters
    ----------
    teacher : HuggingFaceTeacher
        With a model adopted and frozen as it shall be.
    learning_rate : float
        Of the head.
    layer_decay : float
        The share of its upper neighbour's rate that a layer has.

    Returns
    -------
    list of dict
        ``lr`` and ``params``, as torch's optimisers take them.
    """
    layers = teacher.layers()
    depth_of = {id(p): depth for depth, layer in enumerate(layers, 1) for p in layer.parameters()}
    groups: dict[float, list[nn.Parameter]] = {}
    depth, left = 0, len(depth_of)
    for parameter in teacher.model.parameters():
        if id(parameter) in depth_of:
            depth, left = depth_of[id(parameter)], left - 1
        elif left == 0:
            depth = len(layers) + 1
        if parameter.requires_grad:
            rate = learning_rate * layer_decay ** (len(layers) + 1 - depth)
            groups.setdefault(rate, []).append(parameter)
    return [{"lr": rate, "params": parameters} for rate, parameters in groups.items()]
