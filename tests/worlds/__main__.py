"""`python -m tests.worlds [TRIALS]`: what the label and the intervals are worth where the truth is known.

Prints the two tables of docs/calibration.md, "Worlds", in about two minutes; seeded, so the same every time.
"""

from __future__ import annotations

import sys

import numpy as np

from telemetry_proc.labels import LabelSpec
from tests.worlds import coverage, labelling

SEED = 1


def main() -> None:
    """Both tables to stdout, line by line as they are counted."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"label {LabelSpec().digest}, seed {SEED}\n")
    for line in labelling.table(np.random.default_rng(SEED)):
        print(line, flush=True)
    print()
    for line in coverage.table(np.random.default_rng(SEED), trials=trials):
        print(line, flush=True)


if __name__ == "__main__":
    main()
