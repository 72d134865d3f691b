"""Attack detection by disagreement of two networks: West et al. (2023), II.E and Fig. 5, with controls and an attacker who knows of it.

``Detector`` judges images as they come. To measure one: ``split`` the test images, attack some (``mixture``, and ``joint_mixture`` for an attacker
who knows the detector), ``observe`` both networks on all of them, and ``evaluate_detection`` computes every number from these observations.
"""

from qarmor.evaluation.detection.detector import Detector, Judgement, calibrate, total_variation
from qarmor.evaluation.detection.for_claims import measurements
from qarmor.evaluation.detection.measure import Measurement, measure
from qarmor.evaluation.detection.mixing import EPS_RANGE, assign, joint_mixture, mixture, split
from qarmor.evaluation.detection.observations import Observations, Origin, observe, observe_attacked
from qarmor.evaluation.detection.paper import PAPER, Comparison, beside, beside_paper
from qarmor.evaluation.detection.rates import EPS_EDGES, evaluate_detection
from qarmor.evaluation.detection.roc import Area, Roc, auc, roc

__all__ = [
    "EPS_EDGES",
    "EPS_RANGE",
    "PAPER",
    "Area",
    "Comparison",
    "Detector",
    "Judgement",
    "Measurement",
    "Observations",
    "Origin",
    "Roc",
    "assign",
    "auc",
    "beside",
    "beside_paper",
    "calibrate",
    "evaluate_detection",
    "joint_mixture",
    "measure",
    "measurements",
    "mixture",
    "observe",
    "observe_attacked",
    "roc",
    "split",
    "total_variation",
]
