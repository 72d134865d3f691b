"""For models and attacks from elsewhere: ``check_model`` and ``check_attack`` raise on the first promise that is broken, and say which.

Every check has a code, which ``docs/checks.md`` explains.
"""

from qarmor.attacks.findings import Check, CheckError, Finding
from qarmor.testing.attacks import ATTACK_CHECKS, check_attack
from qarmor.testing.models import MODEL_CHECKS, check_model

__all__ = ["ATTACK_CHECKS", "MODEL_CHECKS", "Check", "CheckError", "Finding", "check_attack", "check_model"]
