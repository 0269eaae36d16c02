"""The engine's end of the fast path: who may stand at the other end, and where nobody can."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from engine_proc.push_socket import prepare_socket_directory
from shared.errors import ConfigError

STRANGER = 54_321
posix = pytest.mark.skipif(os.name != "posix", reason="neither modes nor owners")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@posix
def test_given_no_directory_when_prepared_then_it_is_the_owners_alone(tmp_path: Path) -> None:
    prepare_socket_directory(f"ipc://{tmp_path}/a/t.sock")

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_given_a_tcp_endpoint_when_prepared_then_there_is_nothing_to_prepare(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    prepare_socket_directory("tcp://127.0.0.1:4000")

    assert list(tmp_path.iterdir()) == []


@posix
def test_given_a_directory_that_everybody_may_write_when_prepared_then_the_setting_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(ConfigError, match=r"^telemetry\.endpoint: .*everybody may write there \(mode 0777\)"):
        prepare_socket_directory(f"ipc://{tmp_path}/t.sock")


@posix
def test_given_the_socket_of_an_earlier_writer_of_ours_when_prepared_then_it_will_do(tmp_path: Path) -> None:
    a_socket(tmp_path / "t.sock")

    prepare_socket_directory(f"ipc://{tmp_path}/t.sock")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give a file away")
def test_given_a_socket_of_somebody_else_in_a_directory_like_tmp_then_no_record_goes_there(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    a_socket(tmp_path / "t.sock")
    os.chown(tmp_path / "t.sock", STRANGER, -1)

    with pytest.raises(ConfigError, match=rf"^telemetry\.endpoint: .*t\.sock: belongs to user {STRANGER}, not to us"):
        prepare_socket_directory(f"ipc://{tmp_path}/t.sock")


def test_given_a_place_where_no_directory_can_be_when_prepared_then_the_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")

    with pytest.raises(ConfigError, match=r"^telemetry\.endpoint: cannot use .*file: "):
        prepare_socket_directory(f"ipc://{tmp_path}/file/t.sock")
