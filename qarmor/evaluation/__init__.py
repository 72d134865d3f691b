"""How robust networks are: crafting adversarial images, scoring them, and saying how far to trust the outcome."""

from qarmor.evaluation.craft import Adversarials, craft
from qarmor.evaluation.flags import FLAGS, Flag, flag
from qarmor.evaluation.perturbations import Gallery, gallery, low_frequency_share
from qarmor.evaluation.predict import correct, majority, predict
from qarmor.evaluation.probabilities import ProbabilityCurves, probabilities_against_eps
from qarmor.evaluation.score import clean, score, transfer
from qarmor.evaluation.statistics import PairedDifference, mcnemar, paired_difference, wilson

__all__ = [
    "FLAGS",
    "Adversarials",
    "Flag",
    "Gallery",
    "PairedDifference",
    "ProbabilityCurves",
    "clean",
    "correct",
    "craft",
    "flag",
    "gallery",
    "low_frequency_share",
    "majority",
    "mcnemar",
    "paired_difference",
    "predict",
    "probabilities_against_eps",
    "score",
    "transfer",
    "wilson",
]
