"""LSTM-P as kws_streaming builds it for 12 labels: 545,912 parameters (Rybakov et al. 2020).

The context representation c′ is the projected output of every step, one frame every 20 ms.

Shape suffixes: B clips, T frames, M features, C classes, U units, P projected width, G gates (4U).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cache_schema.front_ends import FRONT_ENDS
from student.models.gate_start import GateStart, chrono_bias
from student.models.interface import StudentOutput
from student.models.last_output_student import LastOutputStudent
from student.models.layers import init_as_keras

UNITS = 500
PROJECTED = 200
FORGET_BIAS = 1.0


class LSTMP(LastOutputStudent):
    """An LSTM with peepholes and a projection; a linear classifier on its last output.

    Parameters
    ----------
    classes : int
        Number of classes.
    gates : {"chrono", "keras"}
        Start of the input and forget gates.
    """

    front_end = "mfcc"

    def __init__(self, classes: int, *, gates: GateStart = "chrono") -> None:
        super().__init__()
        self.gates_start = gates
        self.context_width = PROJECTED
        self.lstm = PeepholeLSTM(FRONT_ENDS[self.front_end].features, UNITS, PROJECTED)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(PROJECTED, classes)
        init_as_keras(self)

    def start_memory(self, frames: int) -> None:
        """See :class:`student.models.interface.Student`."""
        if self.gates_start == "chrono":
            self.lstm.start_memory(frames)

    def forward(self, features_BTM: Tensor, lengths_B: Tensor | None) -> StudentOutput:
        """See :class:`student.models.interface.Student`."""
        return self.output_of(self.lstm(features_BTM), lengths_B, skipped_frames=0)

    def initial_state(self, clips: int) -> tuple[Tensor, Tensor]:
        """No frame seen: the cell (B, U) and the output (B, P), both 0."""
        return self.lstm.initial_state(clips)

    def step(self, frame_BM: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """See :class:`student.models.interface.Student`."""
        cell_BU, output_BP = self.lstm.step(frame_BM, *state)
        return self.head(output_BP), cell_BU, output_BP


class PeepholeLSTM(nn.Module):
    """LSTM whose gates see the cell and whose output is projected (LSTMP of Sak et al. 2014).

    As TensorFlow's ``tf.compat.v1.nn.rnn_cell.LSTMCell``: gates in the order input, candidate,
    forget, output; a constant 1 beside the forget gate's bias; peepholes of the input and forget gate
    on the cell before the step, of the output gate on the cell after it; no bias in the projection.

    Written as a loop because torch's LSTM has no peepholes and its projected form exports nowhere.
    The product with the input does not depend on the step before it and is one product for all steps.

    Parameters
    ----------
    features : int
        Width M of an input frame.
    units : int
        Width U of the cell.
    projected : int
        Width P of the output.
    """

    def __init__(self, features: int, units: int, projected: int) -> None:
        super().__init__()
        # One kernel over input and output beside each other, as TensorFlow keeps and initialises it.
        self.gates = nn.Linear(features + projected, 4 * units)
        self.projection = nn.Linear(units, projected, bias=False)
        bound = (3 / units) ** 0.5  # Glorot: fan in and fan out of a diagonal are both its length
        self.input_peephole_U = nn.Parameter(torch.empty(units).uniform_(-bound, bound))
        self.forget_peephole_U = nn.Parameter(torch.empty(units).uniform_(-bound, bound))
        self.output_peephole_U = nn.Parameter(torch.empty(units).uniform_(-bound, bound))

    @torch.no_grad()
    def start_memory(self, frames: int) -> None:
        """Start the forget gate by `chrono_bias` and the input gate by its negative.

        A unit that keeps its cell for u frames writes to it about once in u frames, so that the cell
        neither fills up nor empties.
        """
        keep_U = chrono_bias(self.projection.in_features, frames)
        write_bias_U, _, keep_bias_U, _ = self.gates.bias.chunk(4)
        write_bias_U.copy_(-keep_U)
        keep_bias_U.copy_(keep_U - FORGET_BIAS)

    def forward(self, features_BTM: Tensor) -> Tensor:
        """Give the projected output of every step, starting from zeros: (B, T, M) → (B, T, P)."""
        features = features_BTM.shape[2]
        input_kernel_GM, output_kernel_GP = self.gates.weight.tensor_split([features], dim=1)
        driven_BTG = nn.functional.linear(features_BTM, input_kernel_GM, self.gates.bias)
        cell_BU, output_BP = self.initial_state(len(features_BTM))
        outputs = []
        for driven_BG in driven_BTG.unbind(1):
            gates_BG = torch.addmm(driven_BG, output_BP, output_kernel_GP.t())
            cell_BU, output_BP = self._step(gates_BG, cell_BU)
            outputs.append(output_BP)
        return torch.stack(outputs, 1)

    def initial_state(self, clips: int) -> tuple[Tensor, Tensor]:
        """Cell (B, U) and output (B, P) before the first step."""
        units, projected = self.projection.in_features, self.projection.out_features
        zeros = self.projection.weight.new_zeros
        return zeros(clips, units), zeros(clips, projected)

    def step(self, frame_BM: Tensor, cell_BU: Tensor, output_BP: Tensor) -> tuple[Tensor, Tensor]:
        """Give cell and output after one frame."""
        return self._step(self.gates(torch.cat([frame_BM, output_BP], 1)), cell_BU)

    def _step(self, gates_BG: Tensor, cell_BU: Tensor) -> tuple[Tensor, Tensor]:
        """Give cell and output after a step, from its gates before peepholes and the cell."""
        write_BU, candidate_BU, keep_BU, show_BU = gates_BG.chunk(4, 1)
        write_BU = torch.sigmoid(write_BU + self.input_peephole_U * cell_BU)
        keep_BU = torch.sigmoid(keep_BU + FORGET_BIAS + self.forget_peephole_U * cell_BU)
        cell_BU = keep_BU * cell_BU + write_BU * torch.tanh(candidate_BU)
        show_BU = torch.sigmoid(show_BU + self.output_peephole_U * cell_BU)
        return cell_BU, self.projection(show_BU * torch.tanh(cell_BU))
