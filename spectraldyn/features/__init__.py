"""From trajectory files to rows of features: which features there are, and the call that computes them."""

from spectraldyn.features.definitions import FEATURES, FeatureSet, available_features, define_features, feature_names
from spectraldyn.features.load import load_features
from spectraldyn.features.store import cache_folder
