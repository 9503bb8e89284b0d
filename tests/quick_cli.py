"""The command line with hardly any training: a script for torchrun, which starts processes of its own."""

import sys

import pytest
from conftest import make_quick

from spectraldyn.cli import main

patch = pytest.MonkeyPatch()
make_quick(patch)
patch.setattr("spectraldyn.spectra.kinetics.N_REPLICATES", 20)
sys.exit(main())
