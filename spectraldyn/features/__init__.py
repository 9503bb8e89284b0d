"""From trajectory files to rows of features: which features there are, and the call that computes them."""

from spectraldyn.features.definitions import (
    FEATURES,
    OWN,
    OWN_DESCRIPTION,
    Features,
    FeatureSet,
    available_features,
    define_features,
    move_paths,
)
from spectraldyn.features.load import Files, Top, load_features
from spectraldyn.features.plan import FeaturePlan, plan_features
from spectraldyn.features.store import cache_folder
from spectraldyn.features.weighting import Weights
from spectraldyn.io import kind_of
