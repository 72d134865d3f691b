"""How robust networks are: crafting adversarial images, scoring them, and saying how far to trust the outcome."""

from qarmor.evaluation.certificates import Radii, certified_rows, radii
from qarmor.evaluation.claims import Claim, Claims, Outcome, Verdict, evaluate, read, verdicts_to_json
from qarmor.evaluation.craft import Adversarials, craft
from qarmor.evaluation.flags import FLAGS, Flag, flag
from qarmor.evaluation.measurements import Measurement
from qarmor.evaluation.perturbations import Gallery, gallery, low_frequency_share
from qarmor.evaluation.predict import correct, majority, predict
from qarmor.evaluation.probabilities import ProbabilityCurves, probabilities_against_eps
from qarmor.evaluation.score import clean, score, transfer
from qarmor.evaluation.shots import ShotsNeeded, accuracy_against_shots, shots_needed
from qarmor.evaluation.statistics import PairedDifference, mcnemar, paired_difference, wilson
from qarmor.evaluation.tightness import Smallest, smallest_successful_attack

__all__ = [
    "FLAGS",
    "Adversarials",
    "Claim",
    "Claims",
    "Flag",
    "Gallery",
    "Measurement",
    "Outcome",
    "PairedDifference",
    "ProbabilityCurves",
    "Radii",
    "ShotsNeeded",
    "Smallest",
    "Verdict",
    "accuracy_against_shots",
    "certified_rows",
    "clean",
    "correct",
    "craft",
    "evaluate",
    "flag",
    "gallery",
    "low_frequency_share",
    "majority",
    "mcnemar",
    "paired_difference",
    "predict",
    "probabilities_against_eps",
    "radii",
    "read",
    "score",
    "shots_needed",
    "smallest_successful_attack",
    "transfer",
    "verdicts_to_json",
    "wilson",
]
