"""Students: one file and one line each."""

from __future__ import annotations

STUDENTS = {
    "tc-resnet": "student.models.tc_resnet:TCResNet",
    "att-rnn": "student.models.att_rnn:AttRNN",
}
