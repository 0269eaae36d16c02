"""What settings of the XRP Ledger look like as text, and how much of each may be shown: some of it is secret."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_BASE58 = "[1-9A-HJ-NP-Za-km-z]"  # in the ledger's alphabet; checksums are looked at in `engine_proc.xrpl_wallet`
ADDRESS = re.compile(rf"r{_BASE58}{{24,34}}")
SEED = re.compile(rf"s{_BASE58}{{24,34}}")
WEBSOCKET = re.compile(r"wss?://[^\s/?#@]+(?:[/?][^\s#]*)?")


def endpoint_name(endpoint: str) -> str:
    """An endpoint as it may be shown: without path and user, in which providers keep their customers' keys."""
    url = urlsplit(endpoint)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"


def refuse_seed(text: str) -> None:
    """Raises `ValueError`, which does not show it, if a seed stands where a name belongs: settings are recorded."""
    if SEED.fullmatch(text):
        raise ValueError(
            "a seed stands here (not shown): no configuration may hold one; put it into a file of mode 0600 and name "
            "that in xrpl.seed_file, or set KEDGE_XRPL_SEED"
        )
