"""The live venue owes the engine what every venue owes it: the contract, over a ledger behind a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.venue_contract import VenueContract
from tests.xrpl.venue_stage import VenueStage


class TestXrplVenue(VenueContract):
    """With sequences."""

    @pytest.fixture
    def stage(self, tmp_path: Path) -> Iterator[VenueStage]:
        with VenueStage(tmp_path) as stage:
            stage.venue.prepare()
            stage.venue.settle()
            yield stage


class TestXrplVenueWithTickets(VenueContract):
    """With tickets, as soon as there are any."""

    @pytest.fixture
    def stage(self, tmp_path: Path) -> Iterator[VenueStage]:
        with VenueStage(tmp_path, tickets=10) as stage:
            stage.venue.prepare()
            stage.venue.settle()
            yield stage
