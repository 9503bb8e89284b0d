"""The picture at the head of README.md, from the shipped alanine dipeptide data.

python -m analysis.readme_figure
"""

from pathlib import Path

from matplotlib.figure import Figure

from spectraldyn import fit_trajectories, plots

ROOT = Path(__file__).parents[1]


def main() -> None:
    data = ROOT / "data" / "alanine_dipeptide"
    results = fit_trajectories(sorted(data.glob("*.xtc")), top=data / "top.pdb", lag="5ps", random_state=0)
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.plot_timescales(results, left)
    plots.plot_states(results, right)
    figure.savefig(ROOT / "docs" / "demo.png", dpi=110)


if __name__ == "__main__":
    main()
