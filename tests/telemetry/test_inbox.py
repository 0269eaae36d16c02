import os
import socket
import stat
import threading
from contextlib import closing, contextmanager

import pytest
import zmq

from shared.clock import SystemClock
from shared.codec import MESSAGE_BYTES_MAX
from shared.errors import KedgeError
from shared.stop import Stop
from telemetry_proc.inbox import BATCH_BYTES_MAX, MESSAGES_QUEUED_MAX, Inbox

LONG_MS = 20_000  # far more than any of this takes: a test that waits for it fails by the deadline of the next one


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@contextmanager
def an_inbox(endpoint):
    with closing(Stop()) as stop, closing(Inbox(endpoint, SystemClock(), stop)) as inbox:
        yield inbox, stop


@contextmanager
def a_sender(endpoint):
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.set(zmq.LINGER, 5_000)
        push.connect(endpoint)
        yield push


@pytest.fixture
def endpoint(tmp_path):
    return f"ipc://{tmp_path}/run/t.sock"


def test_given_a_full_batch_when_drained_then_it_returns_early_and_keeps_the_order(endpoint):
    with an_inbox(endpoint) as (inbox, _), a_sender(endpoint) as push:
        for number in range(25):
            push.send(b"%d" % number)

        found = [inbox.drain(10, LONG_MS), inbox.drain(10, LONG_MS), inbox.drain(5, LONG_MS)]

    assert [len(batch) for batch in found] == [10, 10, 5]
    assert [message for batch in found for message in batch] == [b"%d" % number for number in range(25)]


def test_given_nothing_when_drained_then_it_returns_empty_after_flush_ms(endpoint):
    with an_inbox(endpoint) as (inbox, _):
        before_ns = SystemClock.monotonic_ns()

        assert inbox.drain(10, 30) == []

        assert SystemClock.monotonic_ns() - before_ns >= 30_000_000


def test_given_a_waiting_drain_when_a_stop_is_requested_then_it_wakes_at_once(endpoint):
    with an_inbox(endpoint) as (inbox, stop):
        threading.Timer(0.05, stop.request).start()
        before_ns = SystemClock.monotonic_ns()

        assert inbox.drain(10, LONG_MS) == []

        assert SystemClock.monotonic_ns() - before_ns < LONG_MS * 1e6 / 2


def test_given_a_stop_when_drained_then_what_is_queued_still_comes(endpoint):
    with an_inbox(endpoint) as (inbox, stop), a_sender(endpoint) as push:
        push.send(b"first")
        push.send(b"second")
        assert inbox.drain(1, LONG_MS) == [b"first"]
        assert inbox._pull.poll(LONG_MS) == zmq.POLLIN
        stop.request()

        assert inbox.drain(10, LONG_MS) == [b"second"]


def test_given_an_ipc_endpoint_when_bound_then_directory_and_socket_are_the_owners_alone(endpoint, tmp_path):
    umask = os.umask(0o022)
    try:
        with an_inbox(endpoint):
            assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
            assert stat.S_IMODE((tmp_path / "run" / "t.sock").stat().st_mode) == 0o600
            assert os.umask(0o022) == 0o022
    finally:
        os.umask(umask)


def test_given_the_socket_of_a_dead_writer_when_bound_then_it_is_taken_over(endpoint, tmp_path):
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "run" / "t.sock"))

    with an_inbox(endpoint) as (inbox, _), a_sender(endpoint) as push:
        push.send(b"hello")
        assert inbox.drain(1, LONG_MS) == [b"hello"]


def test_given_a_living_writer_when_another_binds_then_it_is_refused_and_the_first_goes_on(endpoint):
    with an_inbox(endpoint) as (inbox, _), a_sender(endpoint) as push:
        with pytest.raises(KedgeError, match="another process is listening there"), an_inbox(endpoint):
            pass
        push.send(b"still here")
        assert inbox.drain(1, LONG_MS) == [b"still here"]


def test_given_a_taken_tcp_port_when_bound_then_it_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(KedgeError, match=f"{endpoint}: cannot listen: Address already in use"), an_inbox(endpoint):
            pass


def test_given_a_file_at_the_endpoint_when_bound_then_it_is_refused_and_the_file_stays(endpoint, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "t.sock").write_text("precious")

    with pytest.raises(KedgeError, match="a file that is no socket"), an_inbox(endpoint):
        pass

    assert (tmp_path / "run" / "t.sock").read_text() == "precious"


def test_given_a_message_beyond_the_maximum_when_sent_then_it_does_not_arrive_and_others_do(endpoint):
    with an_inbox(endpoint) as (inbox, _), a_sender(endpoint) as honest:
        with a_sender(endpoint) as greedy:
            greedy.send(b"x" * (MESSAGE_BYTES_MAX + 1))
            honest.send(b"y" * MESSAGE_BYTES_MAX)

            assert inbox.drain(1, LONG_MS) == [b"y" * MESSAGE_BYTES_MAX]
        assert inbox.drain(1, 50) == []


def test_given_long_messages_when_drained_then_bytes_end_the_batch_and_nothing_is_left_behind(endpoint):
    count = BATCH_BYTES_MAX // MESSAGE_BYTES_MAX + 3
    with an_inbox(endpoint) as (inbox, _), a_sender(endpoint) as push:
        for number in range(count):
            push.send(number.to_bytes(4, "big") + b"x" * (MESSAGE_BYTES_MAX - 4))

        batches = [inbox.drain(100_000, LONG_MS), inbox.drain(3, LONG_MS)]

    assert [len(batch) for batch in batches] == [count - 3, 3]
    assert [int.from_bytes(message[:4], "big") for batch in batches for message in batch] == list(range(count))


def test_given_a_writer_that_does_not_drain_when_flooded_then_it_holds_no_more_than_its_bound(endpoint):
    # Given a sender that keeps nothing itself, so that what it got rid of is with us or in the kernel's few buffers
    with an_inbox(endpoint), zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.set(zmq.SNDHWM, 1)
        push.set(zmq.LINGER, 0)
        push.connect(endpoint)
        taken = 0
        while push.poll(500, zmq.POLLOUT):
            push.send(b"x" * MESSAGE_BYTES_MAX, zmq.DONTWAIT)
            taken += 1

    assert MESSAGES_QUEUED_MAX <= taken <= MESSAGES_QUEUED_MAX + 20


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on this machine")
def test_given_the_ipv6_loopback_when_bound_then_records_arrive():
    with an_inbox("tcp://[::1]:*") as (inbox, _):
        where = inbox._pull.last_endpoint.decode()
        with zmq.Context() as context, context.socket(zmq.PUSH) as push:
            push.set(zmq.IPV6, 1)
            push.connect(where)
            push.send(b"six")
            assert inbox.drain(1, LONG_MS) == [b"six"]


@pytest.mark.skipif(os.name != "posix", reason="no modes")
def test_given_a_directory_that_everybody_may_write_when_bound_then_refused_before_anything_is_there(
    endpoint, tmp_path
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)

    with pytest.raises(KedgeError, match="everybody may write there"), an_inbox(endpoint):
        pass

    assert list((tmp_path / "run").iterdir()) == []
