"""The front end in torch: the twin of :mod:`cache_schema.front_ends`.

Shape suffixes: B clips in batch, S samples, T frames, W samples of a window, F DFT bins, M mel bands
or coefficients.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cache_schema.front_ends import FrontEnd, dct_matrix, hann_window, mel_matrix


class TorchFrontEnd(nn.Module):
    """Compute the features of a padded batch of waveforms.

    The spectrum is taken in float64. In float32 its rounding (1e-7 of the loudest bin) would show
    after the logarithm wherever a band is 100 dB below another one; on a CPU the difference in cost
    is small beside any student's training step.

    Parameters
    ----------
    front_end : FrontEnd
        The recipe; agreement with its NumPy reference is 1e-4 or better.
    """

    window_W: Tensor
    mel_FM: Tensor
    dct_MM: Tensor

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        self.register_buffer("window_W", torch.from_numpy(hann_window(front_end)), persistent=False)
        self.register_buffer("mel_FM", torch.from_numpy(mel_matrix(front_end)), persistent=False)
        self.register_buffer("dct_MM", torch.from_numpy(dct_matrix(front_end)), persistent=False)

    def forward(self, waveform_BS: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        """Turn waveforms into features.

        Parameters
        ----------
        waveform_BS : Tensor, float, shape (B, S)
            In [-1, 1). What lies beyond a row's length is ignored.
        samples_B : Tensor, int64, shape (B,)
            Valid samples of each row.

        Returns
        -------
        features_BTM : Tensor, float32, shape (B, T, M)
            Zero beyond a row's frames.
        frames_B : Tensor, int64, shape (B,)
            Valid frames of each row, as ``frame_count``.
        """
        spec = self.front_end
        position_S = torch.arange(waveform_BS.shape[1], device=waveform_BS.device)
        clean_BS = torch.where(position_S < samples_B[:, None], waveform_BS.double(), 0.0)
        clean_BS = nn.functional.pad(clean_BS, (0, max(0, spec.window_samples - clean_BS.shape[1])))
        windows_BTW = clean_BS.unfold(1, spec.window_samples, spec.hop_samples)
        features_BTM = self.of_windows(windows_BTW)
        beyond_B = (samples_B - spec.window_samples).clamp_min(0)
        frames_B = 1 + torch.div(beyond_B, spec.hop_samples, rounding_mode="floor")
        frame_T = torch.arange(features_BTM.shape[1], device=features_BTM.device)
        valid_BT = frame_T < frames_B[:, None]
        return torch.where(valid_BT[:, :, None], features_BTM, 0.0).float(), frames_B

    def of_windows(self, windows_BTW: Tensor) -> Tensor:
        """Turn windows in float64 into features in float64."""
        spec = self.front_end
        spectrum_BTF = torch.fft.rfft(windows_BTW * self.window_W, spec.dft_samples).abs()
        features_BTM: Tensor = (spectrum_BTF @ self.mel_FM).clamp_min(spec.log_floor).log()
        if spec.coefficients is not None:
            features_BTM = features_BTM @ self.dct_MM
        return features_BTM
