"""A file of arrays: it comes back whole, or not at all."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from telemetry_proc import side_car

ARRAYS = {
    "ints": np.arange(5),
    "floats": np.array([[0.5, np.nan]]),
    "texts": np.array(["OK", "ONE_SIDED"]),
    "none": np.empty(0),
}


def written(path, head=None, held=None):
    with side_car.draft(path) as file:
        return side_car.write(file, head or {}, ARRAYS if held is None else held)


def test_given_arrays_when_written_then_head_and_arrays_come_back(tmp_path):
    crc32 = written(tmp_path / "a", {"facts": {"ticks": 3, "share": 0.1}})

    found = side_car.read(tmp_path / "a")

    assert (found.crc32, found.head["facts"]) == (crc32, {"ticks": 3, "share": 0.1})
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype


@given(st.lists(arrays(np.int64, st.integers(0, 9)), max_size=3), st.data())
def test_property_given_any_bit_flipped_or_the_end_cut_off_when_read_then_there_is_nothing(
    tmp_path_factory, held, data
):
    path = tmp_path_factory.mktemp("car") / "a"
    written(path, held={str(at): array for at, array in enumerate(held)})
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :])
    assert side_car.read(path) is None
    path.write_bytes(whole[:at])
    assert side_car.read(path) is None


def test_given_a_side_car_that_asks_for_objects_when_read_then_it_is_none(tmp_path):
    with side_car.draft(tmp_path / "a") as file:
        side_car.write(file, {}, {"x": np.zeros(2)})
    data = (tmp_path / "a").read_bytes().replace(b"<f8", b"|O8")
    crc32 = struct.pack("<I", zlib.crc32(data[12:]))
    (tmp_path / "a").write_bytes(data[:8] + crc32 + data[12:])

    assert side_car.read(tmp_path / "a") is None


def test_given_a_draft_that_fails_when_left_then_the_old_file_stays_and_no_other(tmp_path):
    (tmp_path / "a").write_bytes(b"old")

    with pytest.raises(TypeError), side_car.draft(tmp_path / "a") as file:
        side_car.write(file, {"x": object()}, {})

    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a", b"old")]
