"""Estimators with scikit-learn's and deeptime's conventions, and the models they fit."""

from spectraldyn.estimators.attribution import Attribution, Ranking, attribute
from spectraldyn.estimators.evaluation import evaluate
from spectraldyn.estimators.generator_svd import GeneratorSVD
from spectraldyn.estimators.kinetic_svd import KineticModel, KineticSVD
from spectraldyn.estimators.model import GeneratorModel, NeuralSVDModel, load_model
from spectraldyn.estimators.neural_svd import NeuralSVD
