"""Loggers: one file adds one, and a line here."""

from __future__ import annotations

LOGGERS = {
    "tensorboard": "student.training.loggers.tensorboard:TensorBoard",
    "wandb": "student.training.loggers.wandb:WeightsAndBiases",
    "mlflow": "student.training.loggers.mlflow:MLflow",
    "clearml": "student.training.loggers.clearml:ClearML",
}
ALWAYS = "tensorboard"
"""Every run has it, beside ``metrics.jsonl``."""
