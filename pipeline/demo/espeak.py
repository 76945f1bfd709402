"""One espeak-ng voice in a process of its own; run as a script, never imported.

espeak-ng carries the state of its noise source and its filters from one utterance to the next, so
what it speaks depends on what it spoke before. A fresh process for each voice, with a fixed seed and a
fixed list of utterances, gives the same samples each time. The synthesiser is GPL-3.0 and is loaded
nowhere else. The script needs the standard library and espeakng-loader only.

In, as JSON: ``{"voice": NAME, "utterances": [[TEXT, SPEED_WPM, PITCH], ...]}``. Out: the sample rate
as little-endian u32, then for each utterance the count, likewise, and that many i16 samples.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from typing import Any

# Values of espeak-ng's speak_lib.h.
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_DONT_EXIT = 0x8000
ESPEAK_RATE, ESPEAK_PITCH = 1, 3
POS_CHARACTER, CHARS_UTF8 = 1, 1
SEED = 1

_SAMPLES = ctypes.POINTER(ctypes.c_short)
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, _SAMPLES, ctypes.c_int, ctypes.c_void_p)


class Voice:
    """An initialised espeak-ng that speaks with one voice.

    Parameters
    ----------
    name : str
        Language and variant, such as ``"en-us+f2"``.

    Attributes
    ----------
    rate_hz : int
        Rate of its samples.
    """

    def __init__(self, name: str) -> None:
        import espeakng_loader

        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        self._samples = bytearray()
        self._callback = _CALLBACK(self._keep)
        data = espeakng_loader.get_data_path().encode()
        self.rate_hz = int(
            self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, INITIALIZE_DONT_EXIT)
        )
        if self.rate_hz <= 0:
            raise SystemExit("espeak-ng could not start")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(SEED))
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise SystemExit(f"espeak-ng has no voice {name!r}")

    def speak(self, text: str, speed_wpm: int, pitch: int) -> bytes:
        """Speak, and return the i16 samples in the machine's order."""
        self._samples.clear()
        self._library.espeak_SetParameter(ESPEAK_RATE, speed_wpm, 0)
        self._library.espeak_SetParameter(ESPEAK_PITCH, pitch, 0)
        encoded = text.encode()
        size = ctypes.c_size_t(len(encoded) + 1)
        status = self._library.espeak_Synth(
            encoded, size, 0, POS_CHARACTER, 0, CHARS_UTF8, None, None
        )
        if status != 0 or not self._samples:
            raise SystemExit(f"espeak-ng gave no samples for {text!r} (status {status})")
        return bytes(self._samples)

    def _keep(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._samples += ctypes.string_at(samples, 2 * count)
        return 0


def main() -> None:
    """Speak what standard input requests to standard output."""
    wanted = json.load(sys.stdin)
    voice = Voice(wanted["voice"])
    out = sys.stdout.buffer
    out.write(struct.pack("<I", voice.rate_hz))
    for text, speed_wpm, pitch in wanted["utterances"]:
        samples = voice.speak(text, speed_wpm, pitch)
        out.write(struct.pack("<I", len(samples) // 2) + samples)


if __name__ == "__main__":
    main()
