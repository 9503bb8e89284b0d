"""Durations as users write them, and what they are in rows."""

import pytest

from spectraldyn.errors import InputError
from spectraldyn.units import Duration, TimeAxis, TimeUnit, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50", Duration(50, None)),
        (50, Duration(50, None)),
        (" 7 ", Duration(7, None)),
        ("50ps", Duration(50, "ps")),
        ("1.2ns", Duration(1200, "ns")),
        ("1.2 ns", Duration(1200, "ns")),
        (".5us", Duration(5e5, "µs")),
        ("2µs", Duration(2e6, "µs")),
        ("3e-3ms", Duration(3e6, "ms")),
        ("200 fs", Duration(0.2, "fs")),
    ],
)
def test_reads_what_users_write(text, expected):
    duration = parse_duration(text, "`lag`")
    assert (duration.unit, duration.in_frames) == (expected.unit, expected.unit is None)
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


@pytest.mark.parametrize(("text", "told"), [("50ps", "50 ps"), ("1.2ns", "1.2 ns"), (".5us", "0.5 µs")])
def test_time_needs_a_spacing(text, told):
    with pytest.raises(InputError, match=rf"`lag` is given in time \({told}\).*give `timestep`, or `lag`"):
        parse_duration(text, "`lag`").to_frames(None, "`lag`")


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


@pytest.mark.parametrize(
    ("time_ps", "typed", "unit"),
    [
        (184_000, None, "ns"),
        (256, None, "ps"),
        (0.834, None, "fs"),
        (1000, None, "ns"),
        (999.6, None, "ns"),  # 1000 ps with three digits
        (999.4, None, "ps"),
        (0.9996, None, "ps"),
        (0.9994, None, "fs"),
        (2e6, None, "µs"),
        (3e12, None, "ms"),
        (1e-6, None, "fs"),
        # The unit that was typed, from 0.01 to 100,000 of it.
        (27_700, "ps", "ps"),
        (100_000, "ps", "ps"),
        (100_001, "ps", "ns"),
        (10, "ns", "ns"),
        (9.99, "ns", "ps"),
        (5e5, "µs", "µs"),
        (5e3, "ms", "ns"),
    ],
)
def test_a_unit_by_size_or_as_typed(time_ps, typed, unit):
    assert TimeUnit.for_time(time_ps, typed) == TimeUnit(unit)


def test_times_in_words():
    assert TimeUnit("ns").text(1200) == "1.2 ns"
    assert TimeUnit("ps").text(0.2 * 3, 800, 1e7) == "0.6, 800, 10000000 ps"
    assert TimeUnit("fs").text(0.1) == "100 fs"
    assert TimeUnit("frames").text(5) == "5 frames"


@pytest.mark.parametrize(
    ("axis", "lag", "length", "unit"),
    [
        (TimeAxis(500.0), "5 ns", "5 µs", "ns"),
        (TimeAxis(500.0, typed_unit="ps"), "5000 ps", "5 µs", "ps"),
        (TimeAxis(500.0, typed_unit="ms"), "0.000005 ms", "5 µs", "ns"),  # as typed, but nothing else in that unit
        (TimeAxis(0.5, 2), "10 ps", "10 ns", "ps"),
        (TimeAxis(None, 2), "20 frames", "20000 frames", "frames"),
    ],
)
def test_a_time_axis_says_how_its_times_are_shown(axis, lag, length, unit):
    """Ten rows, ten thousand rows, and a table around 100 rows."""
    assert (axis.lag_text(10), axis.length_text(10_000), axis.unit_for(axis.time(100))) == (lag, length, TimeUnit(unit))
    assert axis.typed_lag(10) == lag.replace(" ", "").removesuffix("frames")
