"""What the double answers about itself as a server, and how it takes transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.xrpl.fake_node import Refusal
from tests.xrpl.ledger_state import Root
from tests.xrpl.ledger_wire import open_blob

if TYPE_CHECKING:
    from tests.xrpl.ledger import Ledger

LOAD_BASE = 256
DROPS = 1_000_000
_CODES = {
    "tesSUCCESS": 0,
    "tecPATH_PARTIAL": 101,
    "tecUNFUNDED_OFFER": 103,
    "tecUNFUNDED_PAYMENT": 104,
    "tecINSUF_RESERVE_OFFER": 123,
    "tecNO_DST": 124,
    "tecPATH_DRY": 128,
    "tecFROZEN": 137,
    "tecEXPIRED": 148,
    "tecKILLED": 150,
    "tefALREADY": -198,
    "tefBAD_AUTH": -196,
    "tefPAST_SEQ": -190,
    "tefMAX_LEDGER": -186,
    "tefNO_TICKET": -174,
    "telINSUF_FEE_P": -394,
    "terINSUF_FEE_B": -97,
    "terNO_ACCOUNT": -96,
    "terPRE_SEQ": -92,
    "terPRE_TICKET": -88,
}
_CLASSES = {
    "tel": -399,
    "tem": -299,
    "tef": -199,
    "ter": -99,
    "tes": 0,
    "tec": 100,
}  # where the code itself is not listed


def server_info(ledger: Ledger, _: dict[str, Any]) -> dict[str, Any]:
    """The server in XRP and fractions. It is as synchronised as a server can be."""
    newest = ledger.history.newest
    info = _server(ledger) | {
        "load_factor": ledger.load_factor,
        "validated_ledger": {
            "age": 0,
            "base_fee_xrp": ledger.fees.base / DROPS,
            "hash": newest.ledger_hash,
            "reserve_base_xrp": ledger.fees.reserve_base / DROPS,
            "reserve_inc_xrp": ledger.fees.reserve_inc / DROPS,
            "seq": newest.ledger_index,
        },
    }
    return {"info": info}


def server_state(ledger: Ledger, _: dict[str, Any]) -> dict[str, Any]:
    """The server in drops and integers."""
    newest = ledger.history.newest
    factor = int(LOAD_BASE * ledger.load_factor)
    state = _server(ledger) | {
        "load_base": LOAD_BASE,
        "load_factor": factor,
        "load_factor_fee_escalation": factor,
        "load_factor_fee_queue": LOAD_BASE,
        "load_factor_fee_reference": LOAD_BASE,
        "load_factor_server": LOAD_BASE,
        "validated_ledger": {
            "base_fee": ledger.fees.base,
            "close_time": newest.close_time,
            "hash": newest.ledger_hash,
            "reserve_base": ledger.fees.reserve_base,
            "reserve_inc": ledger.fees.reserve_inc,
            "seq": newest.ledger_index,
        },
    }
    return {"state": state}


def _server(ledger: Ledger) -> dict[str, Any]:
    return {
        "build_version": "3.3.0",
        "complete_ledgers": complete_ledgers(ledger),
        "network_id": ledger.network_id,
        "peers": 0,
        "server_state": "full",
        "validation_quorum": 1,
    }


def complete_ledgers(ledger: Ledger) -> str:
    """The range of ledgers that the server has."""
    return f"{ledger.history.first}-{ledger.validated_index}"


def fee(ledger: Ledger, _: dict[str, Any]) -> dict[str, Any]:
    """What the open ledger asks for; there is no queue."""
    base, asked = str(ledger.fees.base), str(ledger.open_fee_drops)
    level = str(int(LOAD_BASE * ledger.load_factor))
    return {
        "current_ledger_size": str(len(ledger.open)),
        "current_queue_size": "0",
        "drops": {"base_fee": base, "median_fee": "5000", "minimum_fee": base, "open_ledger_fee": asked},
        "expected_ledger_size": "1000",
        "ledger_current_index": ledger.validated_index + 1,
        "levels": {
            "median_level": "128000",
            "minimum_level": str(LOAD_BASE),
            "open_ledger_level": level,
            "reference_level": str(LOAD_BASE),
        },
        "max_queue_size": "20000",
    }


def subscribe(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """The newest ledger, if the ledger stream is asked for; the messages themselves are the server's business."""
    if "ledger" not in command.get("streams", ()):
        return {}
    newest = ledger.history.newest
    return {
        "fee_base": ledger.fees.base,
        "ledger_hash": newest.ledger_hash,
        "ledger_index": newest.ledger_index,
        "ledger_time": newest.close_time,
        "network_id": ledger.network_id,
        "reserve_base": ledger.fees.reserve_base,
        "reserve_inc": ledger.fees.reserve_inc,
        "validated_ledgers": complete_ledgers(ledger),
    }


def ping(_: Ledger, __: dict[str, Any]) -> dict[str, Any]:
    """Nothing."""
    return {}


def accept(ledger: Ledger, _: dict[str, Any]) -> dict[str, Any]:
    """Close the open ledger, as a node without peers does on command."""
    ledger.close()
    return {"ledger_current_index": ledger.validated_index + 1}


def submit(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """Take a signed transaction; its provisional result."""
    blob = str(command.get("tx_blob", "")).upper()
    parcel, fault = open_blob(blob)
    if parcel is None:
        raise Refusal("invalidTransaction", fault)
    result = fault or ledger.submit(parcel, fail_hard=bool(command.get("fail_hard")))
    root = ledger.state.entries.get(("account", parcel.account))
    available = root.sequence if isinstance(root, Root) else 0
    return {
        "accepted": True,
        "account_sequence_available": available,
        "account_sequence_next": available,
        "applied": parcel.hash in ledger.open,
        "broadcast": False,
        "engine_result": result,
        "engine_result_code": _CODES.get(result, _CLASSES[result[:3]]),
        "engine_result_message": f"{result}.",
        "kept": parcel.hash in ledger.open or parcel.hash in ledger.held,
        "open_ledger_cost": str(ledger.open_fee_drops),
        "queued": False,
        "tx_blob": blob,
        "tx_json": {**parcel.transaction, "hash": parcel.hash},
        "validated_ledger_index": ledger.validated_index,
    }
