"""`python -m tests.sim SEED`: one history as a readable trace. `python -m tests.sim FIRST LAST`: many, in numbers."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter

from tests.sim.history import live, run_history


def main() -> None:
    first, last = int(sys.argv[1]), int(sys.argv[-1])
    logging.disable(logging.CRITICAL)
    if first == last:
        show(first)
        return
    faults: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    failures = 0
    started = time.perf_counter()
    for seed in range(first, last + 1):
        try:
            stats = run_history(seed)
        except AssertionError as error:
            failures += 1
            print(error, flush=True)
            continue
        faults.update(stats.faults)
        totals.update({name: value for name, value in stats._asdict().items() if isinstance(value, int)})
    seconds = time.perf_counter() - started
    print(f"{last + 1 - first} histories in {seconds:.1f} s, {failures} failures")
    for name, count in (*totals.items(), *sorted(faults.items())):
        print(f"{count:10,}  {name}")


def show(seed: int) -> None:
    worlds = []
    try:
        stats = live(seed, worlds.append).stats
    finally:
        print("\n".join(worlds[0].trace))
    print(stats)


if __name__ == "__main__":
    main()
