"""How a watched session looks: redrawn on a terminal, plain lines everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from telemetry_proc.watch import ENDED, Happening, Look
from telemetry_proc.wording import bps, count, pct

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_BARS = "▁▂▃▄▅▆▇█"
_BAR_FULL_BPS = 10.0
_HAPPENINGS_KEPT = 8


class PlainScreen:
    """One line a look, one for every happening; nothing is ever rewritten. `write` takes a line."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._last = ""

    def waiting(self, text: str) -> None:
        """Said once, not every second."""
        self._write_new(text)

    def show(self, look: Look) -> None:
        """Happenings first, in the order of their ticks, then where the session stands now."""
        for happening in look.happenings:
            self._write(happening_line(happening))
        self._write_new(tick_line(look))
        if look.session.status == ENDED:
            self._write(closing_line(look))

    def _write_new(self, line: str) -> None:
        if line != self._last:
            self._write(line)
            self._last = line


class LiveScreen:
    """A panel that is redrawn in place; happenings stay on the screen above it, where they cannot be missed."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def waiting(self, text: str) -> None:
        """Nothing to draw but the reason."""
        from rich.text import Text  # noqa: PLC0415 - rich is loaded only where a terminal asks for it

        self._live.update(Text(text), refresh=True)

    def show(self, look: Look) -> None:
        """Print what happened above the panel, then redraw it."""
        for happening in look.happenings:
            self._live.console.print(happening_line(happening), style=_style(happening.mode), markup=False)
        self._live.update(_panel(look), refresh=True)
        if look.session.status == ENDED:
            self._live.console.print(closing_line(look), style="bold", markup=False)


def happening_line(happening: Happening) -> str:
    """`tick 402  DEGRADED  [ANCHOR_SAT] mean=+7.31bps prevalence=64.0% over 25 ticks`."""
    tick = "?" if happening.tick is None else str(happening.tick)
    return f"tick {tick}  {happening.mode}  {happening.text}"


def tick_line(look: Look) -> str:
    """Where the session stands, on one line."""
    session, tick = look.session, look.tick
    if tick is None:
        return f"session {session.session_id}  {session.status}  no tick stored yet"
    return (
        f"tick {tick.tick}  {tick.mode}  {tick.market_status}  mid {_price(tick.mid)}  "
        f"error {bps(tick.anchor_error_bps, signed=True)}  guard n={tick.guard_window_n} {_guard(look)}  "
        f"quotes {_quotes(look)}  open {tick.open_orders}  fills {look.fills}  {_behind(look)}"
    )


def closing_line(look: Look) -> str:
    """The session's last word."""
    session = look.session
    return (
        f"session {session.session_id} closed: {session.end_reason}, {session.final_mode}, "
        f"{count(session.ticks, 'tick')}, {count(session.breaker_trips, 'trip')}"
    )


def sparkline(errors_bps: tuple[float | None, ...]) -> str:
    """One mark an error, its height |error| up to 10 bps, a dot where there is none."""
    top = len(_BARS) - 1
    return "".join(
        "·" if error is None else _BARS[min(top, int(abs(error) / _BAR_FULL_BPS * len(_BARS)))] for error in errors_bps
    )


def _panel(look: Look) -> RenderableType:
    from rich.panel import Panel  # noqa: PLC0415 - rich is loaded only where a terminal asks for it
    from rich.text import Text  # noqa: PLC0415

    session, tick = look.session, look.tick
    body = Text("no tick stored yet")
    if tick is not None:
        body = Text.assemble(
            (f"tick {tick.tick:,}  ", "bold"),
            (f"{tick.mode}", _style(tick.mode)),
            f"  market {tick.market_status}  mid {_price(tick.mid)}  fills {look.fills}  {_behind(look)}\n",
            f"error {bps(tick.anchor_error_bps, signed=True)} bps   guard n={tick.guard_window_n} {_guard(look)}\n",
            f"quotes {_quotes(look)}   open orders {tick.open_orders}\n",
            (sparkline(look.recent_errors_bps), "cyan"),
            ("  |error| to 10", "dim"),
        )
    title = f"session {session.session_id}  {session.venue_mode}  {session.pair}  {session.status}"
    return Panel(body, title=Text(title), border_style=_style(tick.mode if tick else None), expand=False)


def _guard(look: Look) -> str:
    tick = look.tick
    assert tick is not None
    return f"mean {bps(tick.guard_mean_bps, signed=True)} share {pct(tick.guard_prevalence_pct)}"


def _quotes(look: Look) -> str:
    tick = look.tick
    assert tick is not None
    bid = _price(tick.bid_price) if tick.bid_price is not None else tick.no_quote_reason_bid or "none"
    ask = _price(tick.ask_price) if tick.ask_price is not None else tick.no_quote_reason_ask or "none"
    return bid if bid == ask else f"{bid} / {ask}"


def _behind(look: Look) -> str:
    return "behind ?" if look.records_behind is None else f"behind {look.records_behind}"


def _price(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


def _style(mode: str | None) -> str:
    return {"ACTIVE": "green", "DEGRADED": "bold red", "HALT": "bold magenta"}.get(mode or "", "dim")
