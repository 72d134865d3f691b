import pytest
import torch

from qarmor.attacks.findings import CHECKS
from qarmor.evaluation import FLAGS, flag, wilson
from qarmor.evaluation.flags import gradient_flags
from qarmor.types import Rows


def _flags(*rows):
    return [row.flags for row in flag(Rows(rows))]


def test_the_table():
    assert set(FLAGS) == {
        "zero-gradient",
        "non-finite-gradient",
        "saturated",
        "stochastic",
        "transfer-beats-white-box",
        "accuracy-rises-with-eps",
        "eps-zero-differs",
        "chance-level",
    }
    for code, entry in FLAGS.items():
        assert entry.code == code
        assert entry.title
        assert entry.explanation.endswith(".")
        assert entry.explanation.count(".") == 1 + entry.explanation.count("1.")


def test_warnings_of_preflight_are_flags():
    for code, check in CHECKS.items():
        if check.severity == "warning":
            assert (FLAGS[code].title, FLAGS[code].explanation) == (check.title, check.explanation)


@pytest.mark.parametrize(("zeros", "fires"), [(0, False), (2, False), (3, True), (200, True)])
def test_zero_gradient(zeros, fires):
    norms = torch.full((200,), 1e-30)
    norms[:zeros] = 0
    assert gradient_flags(norms) == (("zero-gradient",) if fires else ())


def test_non_finite_gradient():
    norms = torch.ones(200)
    assert gradient_flags(norms) == ()
    norms[3] = torch.nan
    assert gradient_flags(norms) == ("non-finite-gradient",)


@pytest.mark.parametrize(
    ("transferred", "n", "fires"),
    [(39, 40, False), (38, 40, True), (40, 100, False), (39, 100, False), (38, 100, True), (36, 400, False), (35, 400, True)],
)
def test_transfer_beats_white_box(row, transferred, n, fires):
    white, other, weaker = _flags(row(40, n=n), row(transferred, n=n, source="b"), row(40, n=n, source="c"))
    assert white == (("transfer-beats-white-box",) if fires else ())
    assert other == weaker == ()


@pytest.mark.parametrize(
    "other",
    [{"eps": 0.2}, {"seed": 1}, {"attack": "fgsm"}, {"parameters": {"steps": 10, "loss": "ce"}}, {"dataset": "e"}, {"target": "b"}, {"n": 99}],
)
def test_transfer_is_compared_only_with_the_same_attack(row, other):
    assert "transfer-beats-white-box" not in _flags(row(40), row(2, source="b", **other))[0]


def test_parameters_are_compared_whatever_their_order(row):
    assert _flags(row(40), row(2, source="b", parameters={"loss": "ce", "steps": 40}))[0] == ("transfer-beats-white-box",)


@pytest.mark.parametrize(
    ("counts", "fires"), [((90, 50, 20), [0, 0, 0]), ((90, 20, 50), [0, 0, 1]), ((20, 90, 22), [0, 1, 1]), ((20, 21, 10), [0, 0, 0])]
)
def test_accuracy_rises_with_eps(row, counts, fires):
    rows = [row(count, eps=eps, source="b") for count, eps in zip(counts, (0.1, 0.2, 0.3), strict=True)]
    wanted = [("accuracy-rises-with-eps",) if f else () for f in fires]
    assert _flags(*rows) == wanted
    assert _flags(*reversed(rows)) == wanted[::-1]


@pytest.mark.parametrize("other", [{"seed": 1}, {"source": "b"}, {"target": "c"}, {"parameters": {}}, {"n": 99}])
def test_rises_only_within_one_attack(row, other):
    assert _flags(row(20), row(90, eps=0.2, **other)) == [(), ()]


def test_eps_zero_differs(row):
    clean = row(90, source="", attack="", eps=0.0, parameters={}, seed=0, low=0.8)
    assert _flags(clean, row(90, eps=0.0, seed=3)) == [(), ()]
    assert _flags(clean, row(89, eps=0.0, seed=3)) == [(), ("eps-zero-differs",)]
    assert _flags(clean, row(89, eps=0.1)) == [(), ()]
    assert _flags(clean, row(89, eps=0.0, target="b")) == [(), ()]
    assert _flags(row(89, eps=0.0)) == [()]


@pytest.mark.parametrize(("successes", "fires"), [(76, True), (80, True), (84, False), (50, True)])
def test_chance_level(row, successes, fires):
    low, high = wilson(successes, 100)
    clean = row(successes, source="", attack="", eps=0.0, low=low, high=high, majority=0.75)
    attacked, per_image, other = row(10), row(10, eps=None), row(10, target="b")
    wanted = ("chance-level",) if fires else ()
    assert _flags(clean, attacked, per_image, other) == [wanted, wanted, wanted, ()]


def test_fooling_rates_take_the_flags_of_the_accuracy_beside_them(row):
    fooling = row(10, metric="fooling_rate", n=70, majority=None)
    subset = row(30, n=250)
    assert _flags(row(40), fooling, subset, row(10, source="b")) == [("transfer-beats-white-box",)] * 2 + [(), ()]


def test_fooling_rates_are_not_compared(row):
    assert _flags(row(40, metric="fooling_rate"), row(10, metric="fooling_rate", source="b")) == [(), ()]


def test_flags_stay_and_flagging_twice_changes_nothing(row):
    rows = Rows([row(40, flags=("zero-gradient",)), row(10, source="b"), row(90, eps=0.2)])
    once = flag(rows)
    assert once[0].flags == ("zero-gradient", "transfer-beats-white-box")
    assert once[2].flags == ("accuracy-rises-with-eps",)
    assert flag(once) == once
    assert rows[0].flags == ("zero-gradient",)


def test_no_eps_no_comparison(row):
    assert _flags(row(40, eps=None), row(10, eps=None, source="b")) == [(), ()]
    assert flag(Rows()) == Rows()
