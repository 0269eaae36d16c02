"""What Kedge says to people in ten thousand faults is not what these tests are about, and takes its time."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _silence():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
