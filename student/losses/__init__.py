"""Distillation losses by name; one file and one line here add another."""

from __future__ import annotations

LOSSES: dict[str, str] = {
    "temporal": "student.losses.temporal:TemporalLoss",
    "logits": "student.losses.logits:LogitsLoss",
    "sp": "student.losses.sp:SPLoss",
    "iusp": "student.losses.iusp:IUSPLoss",
    "attention-map": "student.losses.attention_map:AttentionMapLoss",
}
