"""Durations as users write them, and what they are in rows."""

import pytest

from spectraldyn.errors import InputError
from spectraldyn.units import Duration, TimeAxis, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50", Duration(50, in_frames=True)),
        (50, Duration(50, in_frames=True)),
        (" 7 ", Duration(7, in_frames=True)),
        ("50ps", Duration(50, in_frames=False)),
        ("1.2ns", Duration(1200, in_frames=False)),
        ("1.2 ns", Duration(1200, in_frames=False)),
        (".5us", Duration(5e5, in_frames=False)),
        ("2µs", Duration(2e6, in_frames=False)),
        ("3e-3ms", Duration(3e6, in_frames=False)),
        ("200 fs", Duration(0.2, in_frames=False)),
    ],
)
def test_reads_what_users_write(text, expected):
    duration = parse_duration(text, "`lag`")
    assert duration.in_frames is expected.in_frames
    assert duration.value == pytest.approx(expected.value, rel=1e-15)


@pytest.mark.parametrize("text", ["", "ps", "-5ps", "5 parsecs", "5 s", "1,2ns", "nan", "5ps 3", "1e", "0x10"])
def test_refuses_what_is_no_time(text):
    with pytest.raises(InputError, match=r"^`lag` is .*, which is not a time: .*50ps, 1.2ns") as caught:
        parse_duration(text, "`lag`")
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "timestep", "frames"), [("50", None, 50), ("50", 2.0, 50), ("50ps", 2.0, 25), ("1.2ns", 0.2, 6000)]
)
def test_counts_frames(text, timestep, frames):
    assert parse_duration(text, "`lag`").to_frames(timestep, "`lag`") == frames


def test_time_needs_a_spacing():
    with pytest.raises(InputError, match=r"`lag` is given in time \(50 ps\).*give `timestep`, or `lag`"):
        parse_duration("50ps", "`lag`").to_frames(None, "`lag`")


@pytest.mark.parametrize(
    ("text", "timestep", "told"), [("5ps", 2.0, "2.5 frames of 2 ps"), ("2.5", None, "2.5 frames")]
)
def test_refuses_part_of_a_frame(text, timestep, told):
    with pytest.raises(InputError, match=rf"`lag` is {told}.*whole number"):
        parse_duration(text, "`lag`").to_frames(timestep, "`lag`")


def test_allows_for_rounding_of_the_spacing():
    assert parse_duration("1ns", "`lag`").to_frames(0.2 * (1 + 1e-9), "`lag`") == 5000


def test_rows_frames_and_times():
    axis = TimeAxis(timestep_ps=0.5, stride=4)
    assert (axis.unit, axis.row_time, axis.time(3), axis.frames(3)) == ("ps", 2.0, 6.0, 12)
    unknown = TimeAxis(stride=4)
    assert (unknown.unit, unknown.row_time, unknown.time(2.5), unknown.frames(3)) == ("frames", 4.0, 10.0, 12)


@pytest.mark.parametrize(
    ("lag", "axis", "rows"),
    [("8", TimeAxis(stride=4), 2), ("6ps", TimeAxis(0.5, 4), 3), ("12", TimeAxis(0.5, 4), 3), (5, TimeAxis(), 5)],
)
def test_a_lag_in_rows(lag, axis, rows):
    assert axis.rows_of_lag(parse_duration(lag, "`lag`"), longest=10) == rows


@pytest.mark.parametrize(
    ("lag", "axis", "told"),
    [
        ("6", TimeAxis(stride=4), r"^`lag` is 6 stored frames: it must be a positive multiple of `stride` \(4\)"),
        ("0", TimeAxis(), "^`lag` is 0 stored frames: it must be a positive multiple"),
        ("40", TimeAxis(stride=4), "^`lag` is 40 stored frames, but the longest uninterrupted stretch has 40"),
        ("2ps", TimeAxis(stride=4), "^`lag` is given in time .* give `timestep`"),
        ("0.7ps", TimeAxis(0.5), "^`lag` is 1.4 frames of 0.5 ps: it must be a whole number"),
    ],
)
def test_a_lag_without_pairs(lag, axis, told):
    with pytest.raises(InputError, match=told):
        axis.rows_of_lag(parse_duration(lag, "`lag`"), longest=10)
