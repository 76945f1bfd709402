"""Upper bounds of numbers on the command line, stated by ``--help`` and by what rejects more.

They are far above anything useful: beyond them a machine runs out of memory or time without a word.
"""

from __future__ import annotations

MAX_EPOCHS = 1_000_000
MAX_BATCH = 1_000_000
# Processes or threads.
MAX_PROCESSES = 4096
# What NumPy's and torch's generators both take.
MAX_SEED = 2**32 - 1
MAX_LEARNING_RATE = 1000.0
# Of a Beta distribution that mixes two clips.
MAX_ALPHA = 1000.0
# Of a loss.
MAX_WEIGHT = 1e6
