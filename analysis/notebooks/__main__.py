"""Execute the notebooks and store them with their outputs.

python -m analysis.notebooks                 # all, a minute or two
python -m analysis.notebooks double_well     # by name
"""

import argparse
import time

import nbformat

from analysis.notebooks.execution import NOTEBOOKS, executed, normalised


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    by_name = {path.stem: path for path in NOTEBOOKS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(by_name)}")
    options = parser.parse_args()
    for name in options.names:
        if name not in by_name:
            parser.error(f"there is no notebook {name!r}: choose among {', '.join(by_name)}")
    for name in options.names or by_name:
        started = time.perf_counter()
        nbformat.write(normalised(executed(by_name[name])), by_name[name])
        print(
            f"{name}: {time.perf_counter() - started:.0f} s, {by_name[name].stat().st_size / 1000:.0f} kB", flush=True
        )


if __name__ == "__main__":
    main()
