"""MHAtt-RNN as kws_streaming builds it for 12 labels: 743,047 parameters (Rybakov et al. 2020).

Att-RNN with four queries of the same frames. The context representation c′ is that of Att-RNN.

Shape suffix: D context width.
"""

from __future__ import annotations

import torch
from torch import nn

from student.models.att_rnn import AttRNN
from student.models.gate_start import GateStart


class MHAttRNN(AttRNN):
    """Att-RNN whose four heads' summaries, 1024 wide together, give the logits.

    Parameters
    ----------
    classes : int
        Number of classes.
    gates : {"chrono", "keras"}
        As Att-RNN takes it.
    """

    front_end = "mfcc_8khz"
    heads = 4
    dropped = 0.2

    def __init__(self, classes: int, *, gates: GateStart = "keras") -> None:
        super().__init__(classes, gates=gates)
        with torch.no_grad():
            # Keras has a query layer for each head and starts each by its own size.
            for kernel_DD in self.query.weight.chunk(self.heads):
                nn.init.xavier_uniform_(kernel_DD)
