"""Figures and the table of features: what they show, in which places, under which names."""

import inspect
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
from matplotlib.patches import Circle, FancyArrowPatch
from problems import blank

from spectraldyn import Dataset, GeneratorResults, TransferResults, plots
from spectraldyn.data import Column
from spectraldyn.estimators.attribution import Attribution, Measure, Ranking
from spectraldyn.plots.figures import MAX_POINTS, log_ticks
from spectraldyn.spectra.chapman_kolmogorov import ChapmanKolmogorov
from spectraldyn.spectra.intervals import Estimates
from spectraldyn.spectra.rates import Rate
from spectraldyn.spectra.states import MetastableSets
from spectraldyn.spectra.timescales import Timescale
from spectraldyn.units import TimeAxis

GUIDE = (Path(__file__).parents[1] / "docs" / "figures.md").read_text()
N_ROWS = 2000
POINTS = [Column("x", "C1", unit="nm"), Column("contact", "A-B")]
"""Two columns, of which one has a unit."""


def torsions(*residues):
    return [Column(kind, site, part) for site in residues for kind in ("phi", "psi") for part in ("cos", "sin")]


def results(columns, frames=None, modes=None, n_rows=N_ROWS, **further):
    """As far as the figures look at results: four states by chance, represented by rows 0 to 3."""
    random = np.random.default_rng(0)
    frames = random.normal(size=(n_rows, len(columns))) if frames is None else frames
    memberships = np.eye(4)[random.integers(4, size=len(frames))]
    parts = np.split(frames, [len(frames) // 3])
    return SimpleNamespace(
        data=Dataset(parts, columns=columns, time=TimeAxis(1.0)),
        modes=random.normal(size=(len(frames), 3)) if modes is None else modes,
        sets=MetastableSets(memberships, memberships.mean(axis=0), np.eye(4)),
        representatives=[np.array([i]) for i in range(4)],
        **further,
    )


def angles(n_rows=N_ROWS):
    """φ and ψ in degrees, and the four columns made of them."""
    phi, psi = np.random.default_rng(1).uniform(-180, 180, size=(2, n_rows))
    radians = np.radians([phi, psi])
    return phi, psi, np.stack([f(angle) for angle in radians for f in (np.cos, np.sin)], axis=1)


def labels(ax):
    return ax.get_xlabel(), ax.get_ylabel()


def test_saved_state_map_keeps_its_labels(tmp_path):
    """A Ramachandran map has a fixed aspect; a label cut off by the edge of the picture would leave ink there."""
    drawn = results(torsions("ALA4"), angles()[2])
    plots.save_figure(plots.plot_states(drawn), tmp_path / "states.png")
    picture = matplotlib.image.imread(tmp_path / "states.png")[..., :3]
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert np.all(edge == 1)


def test_coordinates_are_the_torsions_that_follow_the_modes():
    """Of three residues the second moves with the first mode; the third has no ψ."""
    phi, psi, moving = angles()
    random = np.random.default_rng(2)
    frames = np.column_stack((random.normal(size=(N_ROWS, 4)), moving, random.normal(size=(N_ROWS, 3))))
    columns = [*torsions("ALA2", "ALA3"), *torsions("ALA4")[:2], Column("distance", "ALA2-CA ALA3-CA", unit="nm")]
    modes = np.column_stack((np.cos(np.radians(psi)), random.normal(size=N_ROWS)))
    x, y, named = plots.coordinates(results(columns, frames, modes))
    np.testing.assert_allclose(x, phi)
    np.testing.assert_allclose(y, psi)
    assert named == ("φ of ALA3 (degrees)", "ψ of ALA3 (degrees)")


def test_coordinates_of_few_columns_are_these_and_of_many_the_modes():
    two = results(POINTS)
    x, y, named = plots.coordinates(two)
    np.testing.assert_array_equal(np.column_stack((x, y)), np.concatenate(two.data))
    assert named == ("x C1 (nm)", "contact A-B")
    one = results(POINTS[:1])
    x, y, named = plots.coordinates(one)
    np.testing.assert_array_equal(x, np.concatenate(one.data)[:, 0])
    np.testing.assert_array_equal(y, one.modes[:, 0])
    assert named == ("x C1 (nm)", "mode 1 (standard deviations)")
    many = results([*POINTS, *torsions("ALA2")[:3]])
    x, y, named = plots.coordinates(many)
    np.testing.assert_array_equal(np.column_stack((x, y)), many.modes[:, :2])
    assert named == ("mode 1 (standard deviations)", "mode 2 (standard deviations)")


def test_states_are_drawn_where_their_frames_are():
    drawn = results(POINTS)
    ax = plots.plot_states(drawn)
    frames, assignment = np.concatenate(drawn.data), drawn.sets.assignment
    assert labels(ax) == ("x C1 (nm)", "contact A-B")
    for state, line in enumerate(ax.lines):
        np.testing.assert_array_equal(line.get_xydata(), frames[assignment == state])
        assert line.get_label() == f"{state + 1}: {100 * drawn.sets.populations[state]:.2g} %"
    assert len({(line.get_color(), line.get_marker()) for line in ax.lines}) == 4
    assert [(text.get_text(), text.xy) for text in ax.texts] == [(f"{k + 1}", tuple(frames[k])) for k in range(4)]


def test_long_data_are_thinned_out():
    drawn = results(POINTS, n_rows=MAX_POINTS + 1)
    ax = plots.plot_states(drawn)
    assert sum(len(line.get_xdata()) for line in ax.lines) == MAX_POINTS // 2 + 1
    points = np.concatenate([line.get_xydata() for line in ax.lines])
    assert {tuple(p) for p in points} == {tuple(p) for p in np.concatenate(drawn.data)[::2]}


@pytest.mark.parametrize("n_modes", [1, 3, 6])
def test_modes_are_drawn_one_panel_each(n_modes):
    """As colours over the plane of the two columns, up to four of them."""
    modes = np.random.default_rng(3).normal(size=(N_ROWS, n_modes))
    drawn = results(POINTS, modes=modes)
    axes = plots.plot_modes(drawn)
    assert [ax.get_title() for ax in axes] == [f"mode {k + 1}" for k in range(min(n_modes, 4))]
    for k, ax in enumerate(axes):
        (points,) = ax.collections
        np.testing.assert_array_equal(points.get_offsets(), np.concatenate(drawn.data))
        np.testing.assert_array_equal(points.get_array(), modes[:, k])
        limit = np.quantile(np.abs(modes[:, k]), 0.99)
        assert points.get_clim() == pytest.approx((-limit, limit))
        assert labels(ax) == ("x C1 (nm)", "contact A-B" if k == 0 else "")
    bars = [ax.get_ylabel() for ax in axes[0].figure.axes[len(axes) :]]
    assert bars == [""] * (len(axes) - 1) + ["standard deviations"]


def test_modes_of_one_column_are_curves():
    drawn = results(POINTS[:1])
    axes = plots.plot_modes(drawn)
    x = np.concatenate(drawn.data)[:, 0]
    for k, ax in enumerate(axes):
        (line,) = ax.lines
        np.testing.assert_array_equal(line.get_xydata(), np.column_stack((x, drawn.modes[:, k])))
        assert labels(ax) == ("x C1 (nm)", "standard deviations" if k == 0 else "")


def test_maps_of_torsions_span_the_circle():
    phi, psi, frames = angles()
    for ax in (plots.plot_states(results(torsions("ALA4"), frames)), *plots.plot_modes(results(torsions("A"), frames))):
        assert (ax.get_xlim(), ax.get_ylim(), ax.get_aspect()) == ((-180, 180), (-180, 180), 1)
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets(), np.column_stack((phi, psi)))


def test_free_energy_along_one_mode_is_that_of_its_law():
    """A Gaussian of variance 1: z²/2 above the minimum, within 4 standard errors of the counts."""
    modes = np.random.default_rng(4).normal(size=(200_000, 1))
    ax = plots.plot_free_energy(results(POINTS, modes=modes))
    energy, edges, _ = ax.patches[0].get_data()
    middle = (edges[1:] + edges[:-1]) / 2
    counts = np.histogram(modes, edges)[0]
    assert np.isnan(energy[counts == 0]).all()
    seen = counts > 100
    exact = middle**2 / 2
    exact -= np.average(exact[seen] - energy[seen], weights=counts[seen])
    assert np.abs((energy - exact)[seen] * np.sqrt(counts[seen])).max() < 4
    assert labels(ax) == ("mode 1 (standard deviations)", "free energy (kT)")


def test_free_energy_in_the_plane_of_two_modes():
    """Corners of unequal weight, seen 8, 4, 2 and 1 times as often: 0, ln 2, ln 4 and ln 8, and nothing between."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    modes = np.repeat(corners, [80, 40, 20, 10], axis=0)
    columns = [*POINTS, Column("y", "C1", unit="nm")]
    drawn = results(columns, np.zeros((150, 3)) + np.arange(3), modes)
    drawn.representatives = [np.array([0]), np.array([], dtype=int), np.array([130, 5])]
    ax = plots.plot_free_energy(drawn)
    mesh = ax.collections[0]
    energy = np.ma.filled(mesh.get_array().astype(float), np.nan)
    x, y = np.moveaxis(mesh.get_coordinates(), 2, 0)
    assert (x.min(), x.max(), y.min(), y.max()) == (0, 1, 0, 2)
    assert np.isfinite(energy).sum() == 4
    found = [energy[0, 0], energy[0, -1], energy[-1, 0], energy[-1, -1]]
    np.testing.assert_allclose(found, np.log([1, 2, 4, 8]), atol=1e-12)
    assert [(text.get_text(), text.xy) for text in ax.texts] == [("1", (0, 0)), ("3", (0, 2))]
    assert labels(ax) == ("mode 1 (standard deviations)", "mode 2 (standard deviations)")
    assert ax.figure.axes[1].get_ylabel() == "free energy (kT)"


def test_free_energy_in_the_plane_of_the_sets():
    """Of two columns in their own plane, as the sets: a set stands at the same place in both."""
    drawn = results(POINTS)
    energy, sets = plots.plot_free_energy(drawn), plots.plot_states(drawn)
    assert labels(energy) == labels(sets) == ("x C1 (nm)", "contact A-B")
    assert [text.xy for text in energy.texts] == [text.xy for text in sets.texts]


@pytest.fixture
def exchanging():
    """Three sets of which two exchange a hundred times as often as either does with the third, never seen to leave."""
    mfpt = np.array([[0.0, 20.0, 3000.0], [10.0, 0.0, 2990.0], [np.nan, np.nan, 0.0]])
    flux = np.array([[np.nan, 0.1, 0.001], [0.1, np.nan, 0.0], [0.001, 0.0, np.nan]])
    populations = np.array([0.6, 0.3, 0.1])
    return blank(
        TransferResults,
        data=Dataset([np.zeros((10, 1), dtype=np.float32)], time=TimeAxis(1.0)),
        model=SimpleNamespace(lagtime=1),
        populations=Estimates(populations, populations, populations),
        kinetics=SimpleNamespace(mfpt=Estimates(mfpt, mfpt, mfpt), fluxes=Estimates(flux, flux, flux)),
    )


def test_the_network_shows_populations_and_the_passages_that_were_seen(exchanging):
    ax = plots.plot_network(exchanging)
    assert [text.get_text() for text in ax.texts] == [
        "0.02 ns", "0.01 ns", "3 ns", "1\n60 %", "2\n30 %", "3\n10 %",
    ]  # fmt: skip
    circles = [patch for patch in ax.patches if isinstance(patch, Circle)]
    # Equal steps of population are equal steps of area, between those of an empty set and of a full one.
    areas = np.array([circle.get_radius() ** 2 for circle in circles])
    np.testing.assert_allclose(areas, 0.17**2 + (0.42**2 - 0.17**2) * exchanging.populations.value)
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    widths = [arrow.get_arrowstyle().tail_width for arrow in arrows]
    assert widths == pytest.approx([5, 5, 1])
    centres = np.array([circle.center for circle in circles])
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1)


def test_a_network_of_two_sets_and_results_without_passages(exchanging):
    both = {name: Estimates(*(p[:2, :2] for p in part)) for name, part in vars(exchanging.kinetics).items()}
    two = replace(exchanging, populations=Estimates(*np.full((3, 2), 0.5)), kinetics=SimpleNamespace(**both))
    ax = plots.plot_network(two)
    assert [text.get_text() for text in ax.texts][:2] == ["20 ps", "10 ps"]
    centres = [patch.center for patch in ax.patches if isinstance(patch, Circle)]
    np.testing.assert_allclose(centres, [[-1, 0], [1, 0]], atol=1e-12)
    with pytest.raises(ValueError, match="no passage times"):
        plots.plot_network(blank(GeneratorResults))


def test_modes_in_time_are_those_of_the_trajectory_in_which_the_slowest_varies_most():
    drawn = results(POINTS)
    axes = plots.plot_time_series(drawn)
    assert [ax.get_ylabel() for ax in axes] == ["mode 1", "mode 2", "mode 3"]
    first = N_ROWS // 3
    times, values = axes[1].lines[0].get_data()
    np.testing.assert_allclose(values, drawn.modes[first:, 1])
    unit = drawn.data.time.unit_for(float(N_ROWS - first))
    assert axes[-1].get_xlabel() == f"time from the first frame analysed of trajectory 2 ({unit.name})"
    np.testing.assert_allclose(times * unit.size, np.arange(N_ROWS - first))
    for state, line in enumerate(axes[0].lines[1:]):
        np.testing.assert_allclose(line.get_ydata(), drawn.modes[first:, 0][drawn.sets.assignment[first:] == state])
    drawn.modes[first:, 0] *= 0.1
    shorter = plots.plot_time_series(drawn)
    np.testing.assert_allclose(shorter[0].lines[0].get_ydata(), drawn.modes[:first, 0])
    assert "trajectory 1" in shorter[-1].get_xlabel()


def test_singular_values_beside_the_norms():
    """Fewer singular values than functions where these are linearly dependent."""
    model = SimpleNamespace(
        singular_values=np.array([0.9, 0.5]), spectrum=SimpleNamespace(norms=np.array([0.8, 0.4, 0.1]))
    )
    ax = plots.plot_singular_values(SimpleNamespace(model=model))
    trained, read_off = ax.containers
    assert [bar.get_height() for bar in trained] == [0.8, 0.4, 0.1]
    assert [bar.get_height() for bar in read_off] == [0.9, 0.5]
    assert [round(bar.get_x() + bar.get_width() / 2, 9) for bar in read_off] == [1.2, 2.2]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["norms, as trained", "Rayleigh–Ritz"]
    assert list(ax.get_xticks()) == [1, 2, 3]
    assert labels(ax) == ("mode", "singular value")
    assert ax.get_ylim() == pytest.approx((0, 1.2 * 0.9))


def test_rates_with_their_intervals_beside_the_exact_ones():
    """The interval of the second lies above its value, the third has none."""
    rates = [Rate(1.0, 0.9, 1.2), Rate(2.0, 2.1, 2.4), Rate(5.0, None, None, "too few")]
    scales = [Timescale(1 / rate.value, None, None) for rate in rates]
    drawn = blank(GeneratorResults, timescales=scales, rates=rates, exact_rates=np.array([1.1, 2.2, 4.0]))
    ax = plots.plot_rates(drawn)
    exact = ax.lines[0]
    np.testing.assert_array_equal(exact.get_xydata(), [[1, 1.1], [2, 2.2], [3, 4.0]])
    (bars,) = ax.containers
    np.testing.assert_array_equal(bars[0].get_xydata(), [[1, 1.0], [2, 2.0], [3, 5.0]])
    ends = [segment[:, 1] for segment in bars[2][0].get_segments()]
    np.testing.assert_allclose(ends, [[0.9, 1.2], [2.0, 2.4], [5.0, 5.0]])
    assert (*labels(ax), ax.get_yscale()) == ("process", "rate (1/ps)", "log")
    with pytest.raises(ValueError, match="belong to a generator; see plot_rates"):
        plots.plot_timescales(drawn)
    with pytest.raises(ValueError, match="belong to a transfer operator; see plot_timescales"):
        plots.plot_rates(results(POINTS))


def ranking(names, importance):
    """With other measures that tell themselves apart from it."""
    value = np.array(importance)
    return Ranking(tuple(names), *[Measure(value * factor, 0.1 * value, None) for factor in (1, 0.5, 0.25)])


def test_attribution_is_drawn_as_it_ranks():
    """Five processes of ten features each: four panels of eight bars, dark where the leading residue takes part."""
    columns = [Column("distance", f"ALA{k}-CA GLY{k % 3 + 20}-CA", unit="nm") for k in range(10)]
    names = [column.feature for column in columns]
    found = Attribution(ranking(names, np.linspace(1, 0.1, 10)), ranking(["GLY20", "GLY21"], [1.3, 0.8]), 10)
    drawn = results(columns, attribution=[found] * 5)
    axes = plots.plot_attribution(drawn)
    assert [ax.get_title() for ax in axes] == [f"process {k} (dark: GLY20)" for k in range(1, 5)]
    ax = axes[0]
    bars, features = ax.patches, found.features
    np.testing.assert_array_equal([bar.get_width() for bar in bars], features.importance.value[:8])
    dark = [bar.get_facecolor() == bars[0].get_facecolor() for bar in bars]
    assert dark == [k % 3 == 0 for k in range(8)]
    assert [text.get_text() for text in ax.get_yticklabels()] == names[:8]
    ends = ax.containers[0][2][0].get_segments()
    np.testing.assert_allclose([end[:, 0] for end in ends], np.outer(features.importance.value[:8], [0.9, 1.1]))
    top, bottom = (bar.get_y() for bar in (bars[0], bars[-1]))
    assert (top > bottom) == (ax.get_ylim()[0] < ax.get_ylim()[1]), "the first feature on top"
    markers = {
        line.get_label(): line.get_xdata()
        for line in ax.lines
        if line.get_label() in ("correlation", "integrated gradients")
    }
    np.testing.assert_array_equal(markers["correlation"], features.correlation.value[:8])
    np.testing.assert_array_equal(markers["integrated gradients"], features.integrated_gradients.value[:8])
    (legend,) = ax.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "permutation importance",
        "correlation",
        "integrated gradients",
    ]


def test_attribution_without_residues_on_given_axes():
    found = Attribution(ranking(["feature 0"], [0.9]), ranking([], []), 1)
    drawn = results([Column("feature", "0")], attribution=[found])
    given = [plots.figure_axes()]
    assert plots.plot_attribution(drawn, given) == given
    assert given[0].get_title() == "process 1"
    assert len(given[0].patches) == 1


def test_long_names_of_features_take_two_lines():
    site = "protein and resSeq 20 to 40; resname LIG and not element H and not name C1"
    found = Attribution(ranking([f"closest-distance {site}", "rmsd"], [0.9, 0.1]), ranking([], []), 1)
    columns = [Column(kind, name, of_residues=False) for kind, name in (("closest-distance", site), ("rmsd", ""))]
    (ax,) = plots.plot_attribution(results(columns, attribution=[found]))
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "closest-distance protein and\nresSeq 20 to 40; resname LIG and …",
        "rmsd",
    ]


@pytest.mark.parametrize(
    ("values", "shown"),
    [((5.1, 51), ["5", "10", "20", "50"]), ((1, 4), ["1", "2"]), ((0.004, 60), ["0.01", "0.1", "1", "10"])],
)
def test_logarithmic_ticks_are_few_plain_numbers(values, shown):
    ax = plots.figure_axes()
    ax.plot(values, [0, 0])
    ax.set_xscale("log")
    log_ticks(ax.xaxis)
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    labelled = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
    ticks = [label.get_text() for at, label in labelled if low <= at <= high]
    assert ticks == shown
    assert not any(label.get_text() for label in ax.get_xticklabels(minor=True))


def test_chapman_kolmogorov_in_the_unit_of_its_longest_time():
    """Two sets at two times; without a test the axes say so."""
    predicted = Estimates(*(np.array([[0.9, 0.5], [0.8, 0.3]]) + shift for shift in (0, -0.05, 0.05)))
    estimated = Estimates(*(np.array([[0.88, 0.5], [0.7, 0.3]]) + shift for shift in (0, -0.1, 0.1)))
    test = ChapmanKolmogorov(np.array([2, 10]), predicted, estimated, np.ones(2), 0.5)
    data = Dataset([np.zeros((100, 1))], time=TimeAxis(500.0))
    axes = plots.plot_chapman_kolmogorov(blank(TransferResults, data=data, chapman_kolmogorov=test))
    assert [labels(ax)[0] for ax in axes] == ["time (ns)", "time (ns)"]
    for number, ax in enumerate(axes):
        np.testing.assert_allclose(ax.lines[0].get_xydata(), np.column_stack(([1, 5], predicted.value[:, number])))
        np.testing.assert_allclose(ax.containers[0][0].get_ydata(), estimated.value[:, number])
    (none,) = plots.plot_chapman_kolmogorov(blank(TransferResults, data=data))
    assert "no trajectory" in none.texts[0].get_text()


def test_histograms_of_features_are_counts_over_their_own_range():
    """Cosine and sine of an angle as the angle; the thirteenth feature is left out."""
    angle = np.radians(np.repeat([-90.0, 90.0], [30, 60]))
    distance = np.repeat([0.5, 2.5], [60, 30])
    columns = [Column("phi", "A", "cos"), Column("phi", "A", "sin"), Column("distance", "A B", unit="nm")]
    columns += [Column("contact", str(number)) for number in range(11)]
    rows = np.column_stack([np.cos(angle), np.sin(angle), distance, *np.zeros((11, 90))])
    ax = plots.plot_feature_histograms(Dataset([rows[:50], rows[50:]], columns=columns))
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[:3] == ["phi A (degrees)", "distance A B (nm)", "contact 0"]
    assert len(names) == len(ax.patches) == 12
    assert ax.get_title(loc="left") == "the first 12 of 13 features"
    for place, (line, where) in enumerate(zip(ax.patches, [(0.25, 0.75), (0, 1)], strict=False)):
        top, edges, base = line.get_data()
        assert (edges[0], edges[-1], base) == (0, 1, -place)
        heights = top + place
        bins = [min(np.searchsorted(edges, at, side="right") - 1, len(heights) - 1) for at in where]
        assert sorted(heights[bins]) == pytest.approx([0.85 / 2, 0.85])
        assert np.count_nonzero(heights > 1e-9) == 2
    assert [text.get_text() for text in ax.texts[:4]] == ["-180", "180", "0.5", "2.5"]


PANELS = {"attribution", "chapman_kolmogorov", "comparison", "modes", "scan", "time_series"}


def test_every_figure_takes_axes():
    functions = {name.removeprefix("plot_"): getattr(plots, name) for name in dir(plots) if name.startswith("plot_")}
    assert functions.keys() > PANELS
    for name, function in functions.items():
        parameter = inspect.signature(function).parameters["axes" if name in PANELS else "ax"]
        assert parameter.default is None
        assert f"| `{function.__name__}` |" in GUIDE


def test_panels_may_be_given_in_lines_and_columns():
    drawn = results(POINTS)
    grid = plots.figure_axes().figure.subplots(2, 2)
    for plot in (plots.plot_modes, plots.plot_time_series):
        assert plot(drawn, grid) == list(grid.flat[:3])
        with pytest.raises(ValueError, match="`axes` holds 2: give 3, one for each mode"):
            plot(drawn, grid[0])
    (ax,) = plots.plot_modes(results(POINTS, modes=drawn.modes[:, :1]), plots.figure_axes())
    assert ax.get_title() == "mode 1"
