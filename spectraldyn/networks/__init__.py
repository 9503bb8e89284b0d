"""Networks from states to learned functions, and the parts they are composed of."""

from spectraldyn.networks.encoders import ENCODERS, MOST_ATOMS, PLAIN, EncodedWhitening, Encoder, Encoding
from spectraldyn.networks.factors import BoxBoundary, Factor, FourierFeatures, GaussianEnvelope
from spectraldyn.networks.mlp import NETWORKS, CommonTrunk, HiddenUnits, SeparateNetworks
from spectraldyn.networks.sides import Layout, Sides, build_sides
from spectraldyn.networks.whitening import Whitening
