"""Whatever comes over the socket, the writer goes on: real socket, real writer, real database.

The attacks, each mixed with the records of an honest engine:

* bytes: random ones, none at all, the most that a message may have
* msgpack bombs: deep nests, lengths of 4 billion, extensions, maps, timestamps, integers of 64 bits and more
* envelopes: other versions, kinds, numbers, names with NUL, quotes, dots, surrogates, line breaks
* records: cut short, one bit flipped, repeated, out of order, with nonsense in a field, numbers far ahead
* messages of many parts, and of more bytes than are allowed
* no ZMTP at all: garbage, HTTP, half a greeting and then silence, a frame of 2^63 bytes, connections cut off
"""

from __future__ import annotations

import random
import socket
import struct
import tempfile
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import msgpack
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clock import SystemClock
from shared.codec import MESSAGE_BYTES_MAX, WIRE_VERSION, encode
from shared.settings import Telemetry
from shared.stop import Stop
from telemetry_proc.connection import open_for_writing
from telemetry_proc.inbox import Inbox
from telemetry_proc.offsets import Offset
from telemetry_proc.store import REJECT_BYTES_MAX, Store
from telemetry_proc.validate import Reject, judge
from telemetry_proc.writer import Writer
from tests.shared.record_examples import EXAMPLES, TICK, any_record
from tests.telemetry.an_engine import UID, a_writer, encoded, expected, session, stored

MALLORY = "20261120T140210-mallory"
TICKS = 300
DEADLINE_S = 60


# --- the attacks on a message


def nonsense(rng):
    return rng.randbytes(rng.choice([0, 1, 2, 3, 8, 40, 300, 5_000]))


def bomb(rng):
    return rng.choice(
        [
            b"\x91" * 200_000 + b"\xc0",
            b"\x81\xa1a" * 50_000 + b"\xc0",
            b"\xdd\xff\xff\xff\xff" * 100,
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff" + b"x" * 1_000,
            b"\xc6\xff\xff\xff\xff",
            b"\xc9\xff\xff\xff\xff\x01",
            b"\xd6\xff\x00\x00\x00\x00",
            b"\xdc\xff\xff" + b"\xc0" * 65_535,
            b"\x94\x01\xa4tick\xa3\xed\xa0\x80\x00",
            bytes(MESSAGE_BYTES_MAX),
            b"\xc1" * MESSAGE_BYTES_MAX,
        ]
    )


def strange_envelope(rng):
    parts = [WIRE_VERSION, "tick", MALLORY, rng.randrange(100), *TICK]
    for _ in range(rng.randrange(1, 3)):
        parts[rng.randrange(4)] = rng.choice(
            [0, 2, -1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1.0, None, True, "", "tick\0", "x" * 10_000, "../x",
             "'); DROP TABLE sessions; --", "a\nb", b"bytes", [], [[[]]], "session_closed", "nope"]
        )  # fmt: skip
    return msgpack.packb(parts)


def damaged_record(rng):
    record = rng.choice(list(EXAMPLES.values()))
    payload = bytearray(encode(MALLORY, rng.randrange(200), record))
    for _ in range(rng.randrange(1, 4)):
        payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
    return bytes(payload[: rng.choice([len(payload), rng.randrange(len(payload))])])


def nonsense_in_a_field(rng):
    record = list(rng.choice(list(EXAMPLES.values())))
    record[rng.randrange(len(record))] = rng.choice(
        [float("nan"), float("inf"), -1e308, 2**64 - 1, -(2**63), "\0", "x" * 70_000, b"\xff", None, True, [1], ""]
    )
    return msgpack.packb([WIRE_VERSION, "tick", MALLORY, rng.randrange(2**40), *record])


def true_record(rng):
    """In any order, again and again, each a gap or a duplicate."""
    return encode(MALLORY, rng.randrange(2_000), rng.choice(list(EXAMPLES.values())))


ATTACKS = [nonsense, bomb, strange_envelope, damaged_record, nonsense_in_a_field, true_record]


# --- the attacks on a connection

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
READY = b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"
GREETED = GREETING + READY

CONNECTIONS = [
    b"",
    b"\x00",
    b"GET / HTTP/1.1\r\nHost: kedge\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    GREETING[:10],
    GREETING[:63],
    GREETING,
    GREETING.replace(b"NULL", b"EVIL"),
    GREETING.replace(b"\x7f\x03", b"\x7f\xff"),
    GREETING + b"\x04\x05\x07HELLO",
    GREETING + b"\x04\xff" + bytes(255),
    GREETING + READY.replace(b"\x00\x00\x00\x04PUSH", b"\xff\xff\xff\xffPUSH"),
    GREETED + b"\x02" + struct.pack(">Q", 2**63 - 1),
    GREETED + b"\x02" + struct.pack(">Q", 2**64 - 1) + bytes(1_000),
    GREETED + b"\xf8\x00",
    GREETED + b"\x00\xff" + b"half a frame",
    GREETED + b"\x04\x0b\x0aSUBSCRIBE1",
    GREETED + b"\x01\x01x" * 10_000,  # parts of a message that never ends
]


def cut_off(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# --- the writer under fire


class Fire:
    """A writer with a real socket and a real database, and a place to stand for everybody who sends to it."""

    def __init__(self, home: Path, cleanup: ExitStack) -> None:
        self.database = home / "k.db"
        clock = SystemClock()
        self.conn = cleanup.enter_context(closing(open_for_writing(self.database).conn))
        stop = cleanup.enter_context(closing(Stop()))
        self.inbox = cleanup.enter_context(closing(Inbox("tcp://127.0.0.1:*", clock, stop)))
        self.endpoint = self.inbox._pull.last_endpoint.decode()
        places = Telemetry(endpoint=self.endpoint, database=str(self.database), journal_dir=f"{home}/j", flush_ms=20)
        self.writer = Writer(self.inbox, Store(self.conn, clock), places, clock, stop)
        self._clock = clock
        self._context = cleanup.enter_context(zmq.Context())
        self._cleanup = cleanup

    def push(self):
        push = self._cleanup.enter_context(self._context.socket(zmq.PUSH))
        push.set_hwm(0)
        push.set(zmq.LINGER, 0)
        push.connect(self.endpoint)
        return push

    def connection(self, sent):
        host, _, port = self.endpoint.removeprefix("tcp://").rpartition(":")
        connection = socket.create_connection((host, int(port)), timeout=DEADLINE_S)
        self._cleanup.callback(connection.close)
        if sent.startswith(GREETED):  # whoever does not wait for the answer is thrown out before it gets anywhere
            connection.sendall(GREETED)
            answer = b""
            while b"PULL" not in answer:
                answer += connection.recv(100)
            sent = sent.removeprefix(GREETED)
        connection.sendall(sent)
        return connection

    def step_until(self, done):
        until_ns = self._clock.monotonic_ns() + DEADLINE_S * 1_000_000_000
        while not done():
            assert self._clock.monotonic_ns() < until_ns, "the writer no longer gets through"
            self.writer.step()

    def value(self, sql, *bindings):
        return self.conn.execute(sql, bindings).get

    def next_seq(self, uid):
        return self.value("SELECT next_seq FROM telemetry_offsets WHERE session_uid = ?", uid)

    def assert_whole(self, records, uid=UID):
        session_id = self.value("SELECT session_id FROM sessions WHERE session_uid = ?", uid)
        assert stored(self.database, session_id) == expected(records, session_id)
        assert self.value("SELECT count(*) FROM telemetry_gaps WHERE session_uid = ?", uid) == 0


@pytest.fixture
def fire(tmp_path):
    with ExitStack() as cleanup:
        yield Fire(tmp_path, cleanup)


@pytest.mark.parametrize("seed", range(3))
def test_given_attacks_between_the_records_of_an_engine_when_all_is_stored_then_it_is_whole_and_rejects_say_why(
    fire, seed
):
    rng, honest, mallory = random.Random(seed), fire.push(), fire.push()
    attacks, records = [], session(TICKS)

    for payload in encoded(records):
        attacks += [rng.choice(ATTACKS)(rng) for _ in range(2)]
        mallory.send(attacks[-2])
        mallory.send(attacks[-1])
        honest.send(payload)
    mallory.send_multipart([b"\xc1part %d" % number for number in range(1_000)])
    attacks += [b"\xc1part %d" % number for number in range(1_000)]
    nobodys = [payload for payload in attacks if _is_nobodys(payload)]

    on_file = "SELECT count(*) FROM telemetry_rejects WHERE session_uid IS NULL"
    fire.step_until(lambda: fire.next_seq(UID) == len(records) and fire.value(on_file) == len(nobodys))
    fire.writer.step()

    fire.assert_whole(records)
    rejects = list(fire.conn.execute("SELECT reason, payload, payload_bytes, session_uid FROM telemetry_rejects"))
    assert sorted(payload for _, payload, _, uid in rejects if uid is None) == sorted(
        payload[:REJECT_BYTES_MAX] for payload in nobodys
    )
    for reason, payload, size, _ in rejects:
        assert reason.isprintable(), reason
        assert 0 < len(reason) < 400
        assert payload in {attack[:REJECT_BYTES_MAX] for attack in attacks if len(attack) == size}
    assert fire.value("PRAGMA integrity_check") == "ok"
    assert fire.value("PRAGMA foreign_key_check") is None


def _is_nobodys(payload):
    verdict = judge(payload, "socket")
    return isinstance(verdict, Reject) and verdict.session_uid is None


def test_given_messages_beyond_the_maximum_when_sent_then_they_are_dropped_and_others_arrive(fire):
    records, honest = session(20), fire.push()
    for payload in encoded(records):
        greedy = fire.push()
        greedy.send(bytes(MESSAGE_BYTES_MAX + 1))
        honest.send(payload)

    fire.step_until(lambda: fire.next_seq(UID) == len(records))

    fire.assert_whole(records)
    assert fire.value("SELECT count(*) FROM telemetry_rejects") == 0


def test_given_connections_that_speak_no_zmtp_or_fall_silent_when_records_come_then_they_are_all_stored(fire):
    # Given two of every kind that stay open, two that are cut off, and one that sends a byte with every record
    records, honest = session(TICKS), fire.push()
    for sent in CONNECTIONS * 2:
        fire.connection(sent)
        cut_off(fire.connection(sent))
    loris = fire.connection(b"")

    for number, payload in enumerate(encoded(records)):
        if number < len(GREETED) - 1:
            loris.sendall(GREETED[number : number + 1])
        honest.send(payload)
    fire.connection(GREETED + b"\x00\x02me")  # so the handshake of the attacks above is a true one
    mine = "SELECT count(*) FROM telemetry_rejects WHERE payload = CAST('me' AS BLOB)"
    fire.step_until(lambda: fire.next_seq(UID) == len(records) and fire.value(mine))

    fire.assert_whole(records)
    assert {payload for (payload,) in fire.conn.execute("SELECT payload FROM telemetry_rejects")} <= {b"me", b""}


@pytest.mark.parametrize("seed", range(2))
def test_given_random_bytes_over_plain_tcp_when_records_come_then_they_are_all_stored(fire, seed):
    rng, records, honest = random.Random(seed), session(TICKS), fire.push()
    for number, payload in enumerate(encoded(records)):
        if number % 3 == 0:
            start = rng.choice([b"", GREETING[:10], GREETING, GREETED])
            connection = fire.connection(start)
            with suppress(OSError):  # thrown out already, which is as it should be
                connection.sendall(rng.randbytes(rng.randrange(1, 2_000)))
            if number % 2:
                cut_off(connection)
        honest.send(payload)

    fire.step_until(lambda: fire.next_seq(UID) == len(records))

    fire.assert_whole(records)


def test_given_a_peer_that_leaves_out_every_other_record_when_it_repeats_itself_then_the_cost_does_not_grow(fire):
    # Given an offset with a hundred thousand gaps, of which a record fills none, the first, the last and one between
    offset = Offset()
    for seq in range(1, 200_001, 2):
        offset.skip_to(seq, "left out")
        offset.pass_over(b"")
    clock = SystemClock()
    before_ns = clock.monotonic_ns()

    for _ in range(1_000):
        assert not offset.fill(199_999)
    assert (offset.fill(0), offset.fill(199_998), offset.fill(100_000), offset.fill(100_000)) == (
        True,
        True,
        True,
        False,
    )

    assert clock.monotonic_ns() - before_ns < 1_000_000_000, "looked for one by one it takes several seconds"
    assert len(offset.gaps) == 100_000 - 3


# --- any history of messages


_record = st.sampled_from(sorted(EXAMPLES)).flatmap(any_record)
_mutation = st.one_of(
    st.binary(max_size=60),
    st.tuples(_record, st.integers(0, 30), st.integers(0, 2**16), st.integers(0, 255), st.integers(0, 3)).map(
        lambda made: _mutated(*made)
    ),
    st.tuples(_record, st.integers(0, 30)).map(lambda made: encode(MALLORY, made[1], made[0])),
)


def _mutated(record, seq, place, flip, cut):
    payload = bytearray(encode(MALLORY, seq, record))
    payload[place % len(payload)] ^= flip
    return bytes(payload[: len(payload) - cut])


@settings(max_examples=60, deadline=None)
@given(st.lists(_mutation, max_size=25), st.integers(1, 7))
def test_given_any_messages_when_stored_then_nothing_is_raised_and_an_honest_session_is_whole(messages, batch_max):
    records = session(2)
    with tempfile.TemporaryDirectory() as home, a_writer(Path(home), batch_max) as (writer, arrivals, conn, _):
        arrivals.deliver(*messages, *encoded(records), *messages)

        while writer.step():
            pass

        session_id = conn.execute("SELECT session_id FROM sessions WHERE session_uid = ?", (UID,)).get
        assert stored(Path(home) / "k.db", session_id) == expected(records, session_id)
        nobodys = sum(map(_is_nobodys, messages)) * 2
        assert conn.execute("SELECT count(*) FROM telemetry_rejects WHERE session_uid IS NULL").get == nobodys
