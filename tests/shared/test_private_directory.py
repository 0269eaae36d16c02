"""Directories whose content is believed: ours or root's, and nobody else may put anything there."""

from __future__ import annotations

import os
import stat

import pytest

from shared.errors import ConfigError
from shared.private_directory import check_ours, check_private, make_private

pytestmark = pytest.mark.skipif(os.name != "posix", reason="neither modes nor owners")
as_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give a file away")
STRANGER = 54_321


@pytest.fixture
def directory(tmp_path):
    def of_mode(mode):
        path = tmp_path / "d"
        path.mkdir()
        path.chmod(mode)
        return path

    return of_mode


def test_given_no_directory_when_made_then_it_is_its_owners_alone_whatever_the_umask(tmp_path, caplog):
    umask = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert not caplog.messages


@pytest.mark.parametrize("mode", [0o777, 0o707, 0o702, 0o1777])
def test_given_a_directory_that_everybody_may_write_when_checked_then_refused_with_mode_and_remedy(directory, mode):
    path = directory(mode)

    with pytest.raises(ConfigError) as refusal:
        make_private(path)

    assert str(refusal.value) == f"{path}: everybody may write there (mode {mode:04o}): chmod 700 {path}"
    assert stat.S_IMODE(path.stat().st_mode) == mode, "the operator mends it, not we"


@pytest.mark.parametrize(("mode", "taken"), [(0o1777, True), (0o777, False)])
def test_given_a_directory_like_tmp_when_owners_are_looked_at_too_then_its_sticky_bit_will_do(
    directory, mode, taken, caplog
):
    path = directory(mode)

    if taken:
        check_private(path, sticky_will_do=True)
        assert caplog.messages == [f"{path}: open to others than its owner (mode 1777): chmod 700 {path}"]
    else:
        with pytest.raises(ConfigError, match="everybody may write there"):
            check_private(path, sticky_will_do=True)


@pytest.mark.parametrize(("mode", "lines"), [(0o700, 0), (0o500, 0), (0o755, 1), (0o710, 1), (0o770, 1), (0o701, 1)])
def test_given_a_directory_that_others_may_look_into_when_checked_then_one_line_warns(directory, mode, lines, caplog):
    path = directory(mode)

    check_private(path)

    assert [record.levelname for record in caplog.records] == ["WARNING"] * lines
    assert all(f"(mode {mode:04o}): chmod 700 {path}" in line for line in caplog.messages)


@as_root
def test_given_a_directory_of_somebody_else_when_checked_then_it_is_refused_however_closed(directory):
    path = directory(0o700)
    os.chown(path, STRANGER, -1)

    with pytest.raises(ConfigError, match=f"belongs to user {STRANGER}, not to us"):
        check_private(path)


def test_given_no_directory_when_checked_then_the_system_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        check_private(tmp_path / "none")


def test_given_our_own_file_or_none_or_a_link_to_nowhere_when_asked_then_nothing_is_said(tmp_path):
    (tmp_path / "ours").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "none")

    for name in ("ours", "none", "link"):
        check_ours(tmp_path / name)


@as_root
@pytest.mark.parametrize("given_away", ["file", "link"])
def test_given_a_file_or_a_link_of_somebody_else_when_asked_then_it_is_refused(tmp_path, given_away):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.chown(tmp_path / given_away, STRANGER, -1, follow_symlinks=False)

    with pytest.raises(ConfigError, match=rf"link: belongs to user {STRANGER}, not to us"):
        check_ours(tmp_path / "link")
