"""What a soak has done and found, added up over its parts, and the table that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.e2e.stored import Verdict


@dataclass
class Findings:
    """Sums over all parts so far. `failures` say in one line each what went wrong and how to see it again."""

    engine_kills: Counter[str] = field(default_factory=Counter)
    writer_kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)
    wrong_rearms: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.failures or self.wrong_rearms or not self.verdict.exact)

    def table(self) -> Iterator[str]:
        yield from _lines("kill -9 of the engine", self.engine_kills)
        yield from _lines("kill -9 of the writer", self.writer_kills)
        yield from _lines("faults", self.faults)
        for name, count in self.counts.items():
            yield _line(count, name)
        yield _line(self.verdict.records, "records compared with their rows")
        yield _line(self.verdict.lost, "lost")
        yield _line(self.verdict.twice, "stored twice")
        yield _line(self.verdict.different, "different")
        yield _line(self.wrong_rearms, "re-armed without the operator")
        yield _line(len(self.failures), "failures")
        yield from (f"FAILED {failure}" for failure in self.failures)


def _lines(title: str, counter: Counter[str]) -> Iterator[str]:
    yield _line(counter.total(), title)
    for name, count in sorted(counter.items()):
        yield f"{count:>16,}    {name}"


def _line(count: int, what: str) -> str:
    return f"{count:>12,}  {what}"
