"""The command line with hardly any training: a script for torchrun, which starts processes of its own."""

import sys

import pytest
from conftest import make_quick

from spectraldyn.cli import main

make_quick(pytest.MonkeyPatch())
sys.exit(main())
