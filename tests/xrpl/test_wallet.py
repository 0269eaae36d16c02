"""The seed: where it may lie, and that it shows nowhere. The signature: one that the ledger accepts."""

from __future__ import annotations

import json
import os
import pickle
import traceback
from pathlib import Path

import pytest
from xrpl.constants import CryptoAlgorithm
from xrpl.core.binarycodec import decode, encode, encode_for_signing
from xrpl.core.keypairs import generate_seed, is_valid_message

from engine_proc.xrpl_wallet import SEED_VARIABLE, Seed, Signer, check_address, hash_of, load_seed
from shared.errors import ConfigError

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT.parent / "shared" / "xrpl_data" / "node_recordings"

# The genesis account's, known to everybody: its passphrase is "masterpassphrase".
SEED = "snoPBrXtMeMyMHUVTgbuqAfg1SUTb"
ACCOUNT = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"
ACCOUNT_BY_ED25519 = "rGWrZyQqhTp9Xu7G5Pkayo7bXjH4k4QYpf"
ED_SEED = "sEdSJHS4oiAdz7w2X2ni1gFiqtbJHqE"
ED_ACCOUNT = "r9zRhGr7b6xPekLvT6wP4qNdWMryaumZS7"

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes and owners are POSIX")
TRANSACTION = {
    "TransactionType": "OfferCancel",
    "Account": ACCOUNT,
    "Fee": "10",
    "Sequence": 7,
    "OfferSequence": 5,
    "LastLedgerSequence": 100,
}


def seed_file(tmp_path, content=SEED + "\n", mode=0o600):
    path = tmp_path / "seed"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


# --- where the seed comes from


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_given_a_file_that_only_we_can_read_when_loaded_then_its_seed_is_that(tmp_path, mode):
    seed = load_seed(str(seed_file(tmp_path, f"  {SEED}\r\n", mode)), {})

    assert seed.reveal() == SEED


def test_given_the_variable_when_loaded_then_the_seed_is_that():
    assert load_seed(None, {SEED_VARIABLE: f"{ED_SEED}\n"}).reveal() == ED_SEED


def test_given_both_when_loaded_then_nobody_guesses_which(tmp_path):
    path = seed_file(tmp_path)

    with pytest.raises(ConfigError, match=f"xrpl.seed_file: .*{SEED_VARIABLE} is set as well: keep one"):
        load_seed(str(path), {SEED_VARIABLE: SEED})


@pytest.mark.parametrize("environ", [{}, {SEED_VARIABLE: ""}, {SEED_VARIABLE: " "}])
def test_given_neither_when_loaded_then_both_ways_are_named(environ):
    with pytest.raises(ConfigError, match=f"xrpl.seed_file: no seed .*0600.*{SEED_VARIABLE}"):
        load_seed(None, environ)


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o777])
def test_given_a_file_open_to_others_when_loaded_then_it_is_refused_with_the_remedy(tmp_path, mode):
    path = seed_file(tmp_path, mode=mode)

    with pytest.raises(ConfigError, match=rf"others may read it \(mode {mode:04o}\): chmod 600 {path}"):
        load_seed(str(path), {})


@posix_only
def test_given_no_regular_file_when_loaded_then_it_is_refused_and_nobody_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(ConfigError, match="pipe: not a regular file"):
        load_seed(str(tmp_path / "pipe"), {})
    with pytest.raises(ConfigError, match=r"xrpl\.seed_file: "):
        load_seed(str(tmp_path), {})


def test_given_no_file_when_loaded_then_the_key_and_the_path_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"xrpl\.seed_file: .*missing: cannot read it: No such file"):
        load_seed(str(tmp_path / "missing"), {})


@posix_only
def test_given_a_link_of_ours_when_loaded_then_the_file_behind_it_is_judged(tmp_path):
    path, link = seed_file(tmp_path), tmp_path / "link"
    link.symlink_to(path)

    assert load_seed(str(link), {}).reveal() == SEED
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        load_seed(str(link), {})


@posix_only
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_given_a_file_or_a_link_of_somebody_else_when_loaded_then_it_is_refused(tmp_path):
    path, link = seed_file(tmp_path), tmp_path / "link"
    link.symlink_to(path)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        load_seed(str(link), {})
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        load_seed(str(path), {})


def test_given_a_file_with_more_than_a_seed_when_loaded_then_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="more than a seed"):
        load_seed(str(seed_file(tmp_path, SEED + " " * 200)), {})


# --- that it shows nowhere

NO_SEEDS = ["", "hunter2secret", SEED[:-1] + "c", SEED[:-1], SEED + SEED, "söd", ACCOUNT, "0" * 32, b"\xff\xfe\x00seed"]


@pytest.mark.parametrize("text", NO_SEEDS, ids=range(len(NO_SEEDS)))
def test_given_what_is_no_seed_when_loaded_then_the_error_names_the_place_and_shows_none_of_it(tmp_path, text):
    path = seed_file(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        load_seed(str(path), {})

    assert str(caught.value).startswith(f"xrpl.seed_file: {path}: ")
    assert caught.value.__context__ is None
    shown = "".join(traceback.format_exception_only(caught.value))
    words = text.decode("latin-1") if isinstance(text, bytes) else text
    assert len(words) < 3 or words not in shown.replace(str(path), "")


def test_given_a_seed_when_shown_in_any_way_then_it_is_hidden(tmp_path):
    seed = load_seed(str(seed_file(tmp_path)), {})
    signer = Signer(seed, ACCOUNT)

    for thing in (seed, signer):
        for shown in (repr(thing), str(thing), f"{thing}", repr([thing]), repr({"a": thing})):
            assert SEED not in shown
            assert SEED[1:8] not in shown
    assert repr(seed) == "Seed(hidden)"
    assert repr(signer) == f"Signer({ACCOUNT})"
    assert not hasattr(signer, "__dict__"), "vars() of a signer in a debugger's log would show its key"
    for protocol in range(2):
        with pytest.raises(TypeError):
            pickle.dumps(seed, protocol)


def test_given_a_seed_of_another_account_when_a_signer_is_made_then_both_accounts_are_named_but_not_the_seed():
    with pytest.raises(ConfigError) as caught:
        Signer(Seed(SEED), ED_ACCOUNT)

    message = str(caught.value)
    assert message.startswith(f"xrpl.account: {ED_ACCOUNT} is not the account of the seed")
    assert f"{ACCOUNT} (secp256k1) or {ACCOUNT_BY_ED25519} (ed25519)" in message
    assert SEED not in message


# --- keys and signatures


@pytest.mark.parametrize(
    ("seed", "account"),
    [(SEED, ACCOUNT), (SEED, ACCOUNT_BY_ED25519), (ED_SEED, ED_ACCOUNT)],
    ids=["secp256k1", "a plain seed used for ed25519", "ed25519"],
)
def test_given_a_seed_when_signing_then_the_signature_holds_for_the_bytes_that_were_signed(seed, account):
    transaction = TRANSACTION | {"Account": account}

    signed = Signer(Seed(seed), account).sign(transaction)

    sent = decode(signed.blob)
    signature, public_key = bytes.fromhex(sent["TxnSignature"]), sent["SigningPubKey"]
    assert is_valid_message(bytes.fromhex(encode_for_signing(sent)), signature, public_key)
    assert {name: sent[name] for name in transaction} == transaction
    assert set(sent) == {*transaction, "SigningPubKey", "TxnSignature"}
    assert not is_valid_message(bytes.fromhex(encode_for_signing(sent | {"Fee": "11"})), signature, public_key)


@pytest.mark.parametrize(("seed", "account"), [(SEED, ACCOUNT), (ED_SEED, ED_ACCOUNT)])
def test_given_one_transaction_when_signed_twice_then_the_bytes_and_the_hash_are_the_same(seed, account):
    signer = Signer(Seed(seed), account)
    transaction = TRANSACTION | {"Account": account}

    assert signer.sign(transaction) == signer.sign(dict(reversed(transaction.items())))
    assert signer.sign(transaction).hash != signer.sign(transaction | {"Sequence": 8}).hash
    assert "SigningPubKey" not in transaction


def test_given_a_transaction_of_another_account_when_signed_then_it_is_a_bug_of_ours():
    with pytest.raises(AssertionError):
        Signer(Seed(SEED), ACCOUNT).sign(TRANSACTION | {"Account": ED_ACCOUNT})


@pytest.mark.parametrize("algorithm", CryptoAlgorithm)
def test_given_fresh_seeds_when_a_signer_is_made_then_an_ed25519_seed_has_one_account_only(algorithm):
    seed = generate_seed("00112233445566778899AABBCCDDEEFF", algorithm)

    with pytest.raises(ConfigError) as caught:
        Signer(Seed(seed), ACCOUNT)

    assert str(caught.value).count(" or r") == (algorithm is CryptoAlgorithm.SECP256K1)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize("name", ["tx_ask_place", "tx_bid_place", "tx_offer_by_ticket", "tx_cancel_ok"])
def test_given_what_a_node_took_when_hashed_here_then_it_is_the_nodes_own_hash(name):
    submitted = json.loads((RECORDINGS / "scenario1.json").read_text(encoding="utf-8"))[name]["submit"]
    tx_json = dict(submitted["tx_json"])
    hash_ = tx_json.pop("hash")

    assert hash_of(submitted["tx_blob"]) == hash_
    assert encode(tx_json) == submitted["tx_blob"]


def test_given_an_address_when_checked_then_a_typing_error_is_found():
    check_address("xrpl.account", ACCOUNT)

    for wrong in ("rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTi", ACCOUNT[:-1], "r0O", "", SEED):
        with pytest.raises(ConfigError, match=r"xrpl\.issuer: .* is not an address .* typo"):
            check_address("xrpl.issuer", wrong)
