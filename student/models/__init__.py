"""Students: one file and one line each."""

from __future__ import annotations

STUDENTS = {
    "tc-resnet": "student.models.tc_resnet:TCResNet",
    "att-rnn": "student.models.att_rnn:AttRNN",
    "mhatt-rnn": "student.models.mhatt_rnn:MHAttRNN",
    "lstm-p": "student.models.lstm_p:LSTMP",
    "crnn": "student.models.crnn:CRNN",
    "ds-tc-resnet": "student.models.ds_tc_resnet:DSTCResNet",
    "mobilenet": "student.models.mobilenet:MobileNet",
    "efficientnet-b0": "student.models.efficientnet:EfficientNetB0",
    "efficientnet-b2": "student.models.efficientnet:EfficientNetB2",
    "ast-tiny": "student.models.ast_tiny:ASTTiny",
    "bc-resnet": "student.models.bc_resnet:BCResNet",
}
