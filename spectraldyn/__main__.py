"""`python -m spectraldyn`."""

import sys

from spectraldyn.cli import main

sys.exit(main())
