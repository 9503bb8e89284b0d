"""A comparison and a scan as they would come of fits, made by hand."""

from pathlib import Path

from spectraldyn.baselines import Comparison, MethodResult
from spectraldyn.data import InputFile
from spectraldyn.pipeline import Scan, ScanFit
from spectraldyn.pipeline.sensitivity import AxisVerdict
from spectraldyn.spectra.timescales import SHORTER, Timescale
from spectraldyn.units import TimeAxis

FILES = (InputFile(Path("a <b>.xtc"), 600), InputFile(Path("c.npz"), 400, "run0"))
ABOUT = {"files": FILES, "n_rows": 1000, "warnings": ["1 constant column left out: feature <2>"]}


def comparison(n_splits: int = 2) -> Comparison:
    """Two methods that work, of which one misses the second process, and one that fails on one split."""
    slow, fast = Timescale(120.0, 80.0, None), Timescale(4.0, 2.0, 6.0, None, SHORTER)
    price = {"seconds": 1.5, "peak_mb": 20.0, "settings": {"hidden": (8, 8)}}
    runs = [
        [MethodResult("tica", None, [slow, fast], 1.5 + 0.1 * k, 1.4, **price) for k in range(n_splits)],
        [MethodResult("msm", None, [slow], 1.2, 1.3 + 0.1 * k, tuning_seconds=4.0, **price) for k in range(n_splits)],
        [MethodResult("vamp", "singular <matrix>")] * n_splits,
    ]
    asked = {"lagtime": 5, "n_modes": 2, "seed": 3}
    return Comparison(runs, TimeAxis(1.0, 1, "ps"), 700, 300, n_columns=4, **ABOUT, **asked)


def scan() -> Scan:
    """A reference, two other lag times and other features, by which the timescale changes."""
    scales = [Timescale(30.0, 20.0, 50.0, 12), Timescale(4.0, 0.5, 9.0, 40, SHORTER)]
    fits = [
        ScanFit(None, 5, 2, ("torsions",), 4, scales, 1.5, 1.4, 2.0),
        ScanFit("lag", 10, 2, ("torsions",), 4, scales[:1], None, None, 2.0),
        ScanFit("features", 5, 2, ("<contacts>",), 6, scales, 1.4, 1.3, 2.0),
    ]
    verdicts = [
        AxisVerdict("lag", True, "lag: level from lag 10 to 20 ps"),
        AxisVerdict("features", False, "features: depends on them"),
    ]
    return Scan(fits, verdicts, TimeAxis(2.0, 2, "ns"), 0, True, **ABOUT)
