"""Runs a command of ours on a machine whose wall clock is wrong.

    python -m tests.e2e.skewed OFFSET_S engine_proc run ...

The real process, told another time before it imports anything that asks for it, as `faketime` would. Durations come
from the monotonic clock and stay right, as they do when somebody sets the clock.
"""

from __future__ import annotations

import datetime as dt
import importlib
import sys
import time

true_time_ns, TrueDatetime = time.time_ns, dt.datetime


def main() -> None:
    offset_s, module, *arguments = sys.argv[1:]
    offset_ns = int(offset_s) * 1_000_000_000

    class SkewedDatetime(TrueDatetime):
        @classmethod
        def now(cls, tz=None):
            return TrueDatetime.fromtimestamp(time.time(), tz)

    time.time_ns = lambda: true_time_ns() + offset_ns
    time.time = lambda: time.time_ns() / 1e9
    dt.datetime = SkewedDatetime
    sys.argv = [module, *arguments]
    importlib.import_module(f"{module}.__main__").main()


if __name__ == "__main__":
    main()
