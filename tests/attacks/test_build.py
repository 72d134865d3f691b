import subprocess
import sys

import pytest

from qarmor import attacks
from qarmor.attacks import FGSM, PGD


def test_names() -> None:
    plain = ["pgd", "fgsm", "apgd", "apgd-t", "fab", "fab-t", "square", "autoattack"]
    assert attacks.names() == (*plain, "eot", "joint")
    assert [attacks.build(name).name for name in attacks.names()] == [*plain, "eot-pgd", "joint-pgd"]


def test_options_reach_the_attack() -> None:
    assert attacks.build("pgd", steps=3, loss="margin") == PGD(steps=3, loss="margin")
    assert attacks.build("fgsm") == FGSM()


def test_factory() -> None:
    assert attacks.build("qarmor.attacks.gradient:PGD", steps=3) == PGD(steps=3)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        (
            "deepfool",
            {},
            "unknown attack 'deepfool'; there are pgd, fgsm, apgd, apgd-t, fab, fab-t, square, autoattack, eot, joint, and package.module:factory",
        ),
        ("PGD", {}, "unknown attack 'PGD'"),
        ("pgd", {"step": 3}, "attack 'pgd' does not take these options: .*'step'; it takes batch_size, steps, step_size"),
        ("fgsm", {"steps": 3}, "attack 'fgsm' does not take these options: .*'steps'; it takes batch_size, loss"),
        ("pgd", {"steps": 0}, "steps must be a whole number"),
        ("no_such_module:f", {}, "cannot import 'no_such_module'"),
        ("qarmor.attacks:nothing", {}, "has no 'nothing'"),
        ("math:pi", {}, "attack 'math:pi' must be a factory of an attack, it is of type float"),
        ("builtins:abs", {}, "attack 'builtins:abs' does not take these options: .*'x'"),
        ("fractions:Fraction", {}, "attack 'fractions:Fraction' must return an attack .* it returned a Fraction"),
        ("copy:copy", {"x": PGD}, "attack 'copy:copy' must return an attack .* it returned the class PGD"),
    ],
)
def test_errors(name, options, match) -> None:
    with pytest.raises(ValueError, match=match):
        attacks.build(name, **options)


def test_a_type_error_inside_a_factory_is_not_taken_for_a_wrong_option() -> None:
    with pytest.raises(TypeError, match="can't convert type 'str'"):
        attacks.build("statistics:mean", data=["a", "b"])


def test_imports_only_types_of_ours() -> None:
    code = "import sys, qarmor.attacks; print(*sorted(m for m in sys.modules if m.startswith('qarmor.') and not m.startswith('qarmor.attacks')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["qarmor.types"]
