"""One line per transition on stderr, in UTC: `2026-11-20T14:02:09.113Z WARNING message`."""

from __future__ import annotations

import logging
import sys

from shared.clock import iso_utc


class _UtcLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        line = f"{iso_utc(round(record.created * 1e9))} {record.levelname} {record.message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging() -> None:
    """Send every logger of this process to stderr. Called once, by composition."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_UtcLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
