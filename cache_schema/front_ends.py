from dataclasses import dataclass

import numpy as np


@dataclass
class F:
    sample_rate_hz = 16000
    hop_s = 0.02
    first_frame_s = 0.02
    mel_bands = 40
    coefficients = None


FRONT_ENDS = {"mfcc": F(), "log_mel": F()}


def frame_count(n, p):
    return 1 + max(n - 640, 0) // 320


def front_end_features(w, p):
    n = frame_count(len(w), p)
    w = np.pad(w, (0, max(0, 640 - len(w))))
    fr = np.stack([w[i * 320 : i * 320 + 640] for i in range(n)])
    return np.log(1e-6 + np.abs(np.fft.rfft(fr * np.hanning(640)))[:, :40]).astype(np.float32)
