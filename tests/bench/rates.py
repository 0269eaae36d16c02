"""`make bench`: how many ticks a second the engine does, and how many records a second the writer stores.

Both are measured on this machine, now, in one run, medians of several rounds. The engine runs the simulated market
at full speed with two quotes replaced on every tick, the guard on, a real journal and a real socket to a real writer
process; the writer's rate is a closed journal read into an empty database.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
TICKS = 30_000
SETTINGS = (
    f"market.ticks_max={TICKS}",
    "market.pace_per_s=0",
    "market.sim.scenario=[{kind: calm, ticks: 1000000}]",
    "market.sim.glitch_rate=0.0",
    "strategy.quote.levels=1",
    "strategy.quote.requote_tolerance_bps=0.0",
    "gate.submits_per_window_max=1000",
    "gate.position_base_min=0",
    "gate.position_base_max=1000000",
    "execution.paper.base_balance=100000",
    "execution.paper.quote_balance=130000",
    "strategy.inventory.target_base=100000",
    "strategy.inventory.band_base=50000",
)


def main() -> None:
    """Run the rounds and print a table and one JSON line."""
    rounds = [one_round() | {"python_call_ns": python_call_ns()} for _ in range(ROUNDS)]
    result = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    result |= {"rounds": ROUNDS, "ticks": TICKS, "cpus": os.cpu_count(), "python": sys.version.split()[0]}
    print(
        f"engine, simulated market     {result['ticks_per_s']:>10,.0f} ticks/s  (median of {ROUNDS} x {TICKS:,} ticks)"
    )
    print(f"  orders sent per tick       {result['orders_per_tick']:>10.2f}")
    print(f"  records per tick           {result['records_per_tick']:>10.2f}")
    print(f"  refused by the socket      {result['unsent_share']:>10.2%}")
    print(f"writer behind at the end     {result['writer_behind_s']:>10.2f} s        (socket, live, other core)")
    print(f"backfill of that journal     {result['backfill_records_per_s']:>10,.0f} records/s")
    print(
        f"yardstick: a Python call     {result['python_call_ns']:>10,.1f} ns       (shows a slow phase of the machine)"
    )
    print(json.dumps(result))


def python_call_ns() -> float:
    """What calling an empty function costs on this machine in this minute; virtual machines change speed."""

    def nothing() -> None:
        return None

    started = time.perf_counter_ns()
    for _ in range(1_000_000):
        nothing()
    return (time.perf_counter_ns() - started) / 1_000_000


def one_round() -> dict[str, float]:
    """One session with its writer, then a backfill of its journal."""
    with tempfile.TemporaryDirectory(prefix="kb") as tmp:
        home = Path(tmp)
        places = (
            f"telemetry.database={home}/k.db",
            f"telemetry.journal_dir={home}/j",
            f"telemetry.endpoint=ipc://{home}/s.sock",
        )
        options = [part for setting in (*SETTINGS, *places) for part in ("--set", setting)]
        writer = subprocess.Popen(
            [sys.executable, "-m", "telemetry_proc", "write", *options], stderr=subprocess.PIPE, text=True
        )
        assert writer.stderr is not None
        for line in writer.stderr:
            if "listening" in line:
                break
        started = time.perf_counter()
        engine = subprocess.run(
            [sys.executable, "-m", "engine_proc", "run", *options], capture_output=True, text=True, check=True
        )
        finished = time.perf_counter()
        writer.terminate()
        writer.communicate()
        behind_s = time.perf_counter() - finished
        journal = next((home / "j").glob("*.kj"))
        started_backfill = time.perf_counter()
        backfill = [sys.executable, "-m", "telemetry_proc", "backfill", "--db", f"{home}/b.db", str(journal)]
        subprocess.run(backfill, capture_output=True, check=True)
        backfill_s = time.perf_counter() - started_backfill
        return measured(home / "k.db", engine.stderr, behind_s, backfill_s, finished - started)


def measured(database: Path, engine_log: str, behind_s: float, backfill_s: float, engine_s: float) -> dict[str, float]:
    """Read the figures from what the session recorded about itself."""
    import apsw

    db = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        (ticks, orders, unsent, mean_us, seconds) = db.execute(
            "SELECT count(*), sum(orders_submitted), max(outbox_unsent), avg(tick_duration_us), "
            "(SELECT (julianday(ended_at) - julianday(started_at)) * 86400 FROM sessions) FROM system_metrics"
        ).get
        records = db.execute("SELECT next_seq FROM telemetry_offsets").get
    finally:
        db.close()
    assert ticks == TICKS, engine_log
    return {
        "ticks_per_s": ticks / seconds,
        "tick_duration_us_mean": mean_us,
        "orders_per_tick": orders / ticks,
        "records_per_tick": records / ticks,
        "unsent_share": unsent / records,
        "engine_process_s": engine_s,
        "writer_behind_s": behind_s,
        "backfill_records_per_s": records / backfill_s,
    }


if __name__ == "__main__":
    main()
