import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import DatabaseUnusable
from telemetry_proc.lock import Holder, holder, is_held, sole_writer

SINCE = "2026-11-20T14:02:09.113Z"
HOLD = """
import sys
from pathlib import Path
from telemetry_proc.lock import sole_writer
with sole_writer(Path(sys.argv[1]), "write", "2026-11-20T14:02:09.113Z"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other_process(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "k.db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline().strip() == b"held"
        yield process
        process.kill()


def test_given_a_free_database_when_held_then_the_holder_can_be_read(tmp_path):
    database = tmp_path / "new" / "k.db"
    with sole_writer(database, "write", SINCE):
        assert is_held(database)
        assert holder(database) == Holder(os.getpid(), "write", SINCE)

    assert not is_held(database)
    assert holder(database) is None


def test_given_a_writer_in_another_process_when_a_second_comes_then_it_is_refused_naming_the_pid(
    tmp_path, other_process
):
    for _ in range(2):  # being refused does not take the holder's note away
        with (
            pytest.raises(DatabaseUnusable, match=f"in use by pid {other_process.pid}, write since {SINCE}"),
            sole_writer(tmp_path / "k.db", "write", SINCE),
        ):
            pass
    assert is_held(tmp_path / "k.db")


def test_given_a_writer_that_was_killed_when_another_comes_then_the_database_is_free(tmp_path, other_process):
    other_process.kill()
    other_process.wait()

    assert not is_held(tmp_path / "k.db")
    with sole_writer(tmp_path / "k.db", "write", SINCE):
        assert holder(tmp_path / "k.db").pid == os.getpid()


def test_given_no_database_when_asked_then_nobody_holds_it_and_nothing_is_made(tmp_path):
    assert not is_held(tmp_path / "k.db")
    assert list(tmp_path.iterdir()) == []


def test_given_a_directory_that_cannot_be_when_held_then_one_line_names_the_file(tmp_path):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(DatabaseUnusable, match=r"k\.db\.lock: cannot lock the database"),
        sole_writer(tmp_path / "file" / "k.db", "write", SINCE),
    ):
        pass


@pytest.mark.parametrize("name", ["", ".", "..", "directory"])
def test_given_a_directory_instead_of_a_database_when_held_then_it_is_refused_and_nothing_is_made(
    tmp_path, monkeypatch, name
):
    (tmp_path / "directory").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DatabaseUnusable, match="a directory"), sole_writer(Path(name), "write", SINCE):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["directory"]
