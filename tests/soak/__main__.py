"""`make soak`: everything that can go wrong with both processes, again and again, for as long as there is time.

    python -m tests.soak --minutes 5 [--seed N] [--part kills|outages|supervisord|sim]

Ends with a table of what was done and found; the exit code is 1 if anything was lost, stored twice, re-armed by
itself, or failed in any other way. Ctrl-C ends it early, with the table so far.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.soak.findings import Findings
from tests.soak.parts import Slice, available

WIDTH = 110


def main() -> int:
    parts = available()
    asked = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    asked.add_argument("--minutes", type=float, default=5.0)
    asked.add_argument("--seed", type=int, default=None, help="the first slice's; the next ones count on")
    asked.add_argument("--part", choices=sorted(parts), help="only this one")
    options = asked.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    order = (
        [options.part] if options.part else [part for other in parts if other != "kills" for part in ("kills", other)]
    )
    findings = Findings()
    started_s = time.monotonic()

    def elapsed_s() -> float:
        return time.monotonic() - started_s

    print(f"soak for {options.minutes:g} minutes, seed {seed}, parts: {', '.join(dict.fromkeys(order))}", flush=True)
    try:
        number = 0
        while elapsed_s() < options.minutes * 60:
            part = order[number % len(order)]
            said = part_line(elapsed_s(), part, seed + number)
            work = Slice(seed + number, lambda: elapsed_s() >= options.minutes * 60, findings, progress_after(said))
            print(f"\r{said}{parts[part](work)}".ljust(WIDTH), flush=True)
            number += 1
    except KeyboardInterrupt:
        print("\ninterrupted; the table so far:")
    for line in findings.table():
        print(line)
    print(f"{elapsed_s() / 60:.1f} minutes: {'FAILED' if findings.failed else 'ok'}, first seed {seed}")
    return 1 if findings.failed else 0


def part_line(elapsed_s: float, part: str, seed: int) -> str:
    return f"{elapsed_s / 60:6.1f} min  {part:<12} seed {seed}: "


def progress_after(said: str):
    """One line that is written over, on a terminal; nothing in a file."""

    def progress(what: str) -> None:
        if sys.stdout.isatty():
            print(f"\r{(said + what)[:WIDTH]}".ljust(WIDTH), end="", flush=True)

    return progress


if __name__ == "__main__":
    sys.exit(main())
