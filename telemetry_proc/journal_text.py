"""What `kedge-telemetry journal` says: lines for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shared.clock import iso_utc
from telemetry_proc.journal_check import Verdict
from telemetry_proc.journal_repair import Repair
from telemetry_proc.journal_survey import Stored, Survey, how_it_ended
from telemetry_proc.prune import Judged
from telemetry_proc.sessions import JSON_SCHEMA_VERSION
from telemetry_proc.wording import count, in_one_line, to_the_second


def survey_table(surveys: Sequence[tuple[Survey, Stored | None]]) -> Iterator[str]:
    """A line a journal under a line of headings, in columns."""
    headings = ("session", "started", "size", "records", "ticks", "mode", "stored", "ended")
    rows = [headings, *(_survey_row(seen, in_database) for seen, in_database in surveys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = {"size", "records", "ticks"}
    for row in rows:
        cells = zip(headings, row, widths, strict=True)
        yield "  ".join(text.rjust(n) if name in numbers else text.ljust(n) for name, text, n in cells).rstrip()


def survey_json(seen: Survey, in_database: Stored | None) -> dict[str, Any]:
    """One journal for programs."""
    opened, closed = seen.opened, seen.closed
    return {
        "journal": str(seen.path),
        "session_uid": seen.session_uid,
        "venue_mode": opened.venue_mode if opened else None,
        "started_at": iso_utc(opened.wall_ns) if opened else None,
        "closed_at": iso_utc(closed.wall_ns) if closed else None,
        "end_reason": closed.end_reason if closed else None,
        "size_bytes": seen.size_bytes,
        "records": seen.records,
        "ticks": seen.ticks,
        "last_seq": seen.last_seq,
        "last_mode": seen.last_mode,
        "ended": how_it_ended(seen),
        "is_damaged": seen.is_damaged,
        "torn_bytes": seen.torn_bytes,
        "corrupt_bytes": seen.corrupt_bytes,
        "unreadable_records": seen.unreadable_records,
        "stored": in_database,
    }


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """How it went, then a line a finding."""
    records = count(verdict.records, "record")
    if verdict.failures:
        outcome = f"{records}, {count(verdict.failures, 'FAILURE')}"
    else:
        outcome = f"{records}, whole" + (", stored identically" if verdict.is_stored else "")
    yield f"{verdict.path}: {outcome}"
    for finding in verdict.findings:
        yield f"{verdict.path}: {'FAILURE' if finding.is_failure else 'note'}: {in_one_line(str(finding))}"
    left_out = verdict.failures + verdict.notes - len(verdict.findings)
    if left_out:
        yield f"{verdict.path}: and {left_out:,} more"


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """One journal for programs; `findings` are the first of them, the counts count all."""
    findings = [
        {"code": one.code, "failure": one.is_failure, "byte": one.position, "record": one.record, "text": one.text}
        for one in verdict.findings
    ]
    return {
        "journal": str(verdict.path),
        "session_uid": verdict.session_uid,
        "records": verdict.records,
        "compared": verdict.compared,
        "stored": verdict.is_stored if verdict.compared else None,
        "records_behind": verdict.behind,
        "records_rejected": verdict.rejected,
        "failures": verdict.failures,
        "notes": verdict.notes,
        "findings": findings,
    }


def repair_lines(done: Repair, *, dry_run: bool) -> Iterator[str]:
    """A line a stretch of broken bytes, or that there is none."""
    path = done.path
    if not done.damages:
        yield f"{path}: whole, left as it is"
    would = "would be " if dry_run else ""
    for damage, saved in zip(done.damages, done.saved, strict=True):
        yield f"{path}: byte {damage.position}: {damage.length:,} {damage.kind} bytes {would}taken out, kept in {saved}"


def pruned_line(judged: Judged, *, dry_run: bool) -> str:
    """Gone, or kept and why."""
    if judged.kept_because is not None:
        return f"{judged.path}: kept: {in_one_line(judged.kept_because)}"
    return f"{judged.path}: {'would be deleted' if dry_run else 'deleted'}, {judged.size_bytes:,} bytes"


def pruned_json(done: Sequence[Judged], *, dry_run: bool) -> dict[str, Any]:
    """What went and what was kept, why, and how many bytes that freed."""

    def said(one: Judged) -> dict[str, Any]:
        closed_at = None if one.closed_ns is None else iso_utc(one.closed_ns)
        return {
            "journal": str(one.path),
            "session_uid": one.session_uid,
            "size_bytes": one.size_bytes,
            "closed_at": closed_at,
        }

    pruned = [one for one in done if one.kept_because is None]
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        "dry_run": dry_run,
        "pruned": [said(one) for one in pruned],
        "pruned_bytes": sum(one.size_bytes for one in pruned),
        "kept": [said(one) | {"reason": one.kept_because} for one in done if one.kept_because is not None],
    }


def _survey_row(seen: Survey, in_database: Stored | None) -> tuple[str, ...]:
    return (
        seen.session_uid or seen.path.name,  # whose it is, where the file says so
        to_the_second(iso_utc(seen.opened.wall_ns)) if seen.opened else "-",
        "-" if seen.size_bytes is None else count(seen.size_bytes),
        count(seen.records),
        count(seen.ticks),
        seen.last_mode or "-",
        in_database or "-",
        in_one_line(how_it_ended(seen)),
    )
