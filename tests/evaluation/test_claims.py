import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import qarmor
from qarmor.evaluation import Measurement, evaluate, paired_difference, read, verdicts_to_json

SHIPPED = (Path(qarmor.__file__).parent / "studies" / "claims.toml").read_text()
HEAD = '[variants.tuned]\n[variants.linear]\nqvc200 = "linear"\n[[claims]]\nid = "1"\ntext = "a claim"\nvariants = ["tuned"]\n'


def _claims(*criteria, more=""):
    return read(HEAD + more + f"\ncriteria = {json.dumps(list(criteria))}")


def _measured(quantity, values, images=None, *, source="", target="", attack="", eps=0.0, dataset="mnist"):
    values = torch.as_tensor(values, dtype=torch.float64)
    images = torch.arange(len(values)) if images is None else torch.as_tensor(images)
    return Measurement(dataset, quantity, source, target, attack, eps, values, images)


def _right(k, n):
    """k right answers among n, spread evenly over the set."""
    values = torch.zeros(n, dtype=torch.float64)
    values[torch.linspace(0, n - 1, k).round().long() if k else []] = 1
    assert int(values.sum()) == k
    return values


def _attacked(k, n, source="convnet", target="qvc200", eps=0.2, **more):
    return _measured("accuracy", _right(k, n), source=source, target=target, attack="pgd", eps=eps, **more)


def _clean(k, n, target="qvc200", **more):
    return _measured("clean", _right(k, n), target=target, **more)


def _one(claims, *measurements, datasets=None):
    (verdict,) = evaluate(claims, measurements, datasets or {"mnist": 10000})
    return verdict


WILSON = stats.binomtest(50, 250).proportion_ci(method="wilson")


# --- verdicts


@pytest.mark.parametrize(
    ("bound", "verdict"), [("< 0.5", "holds"), ("> 0.5", "fails"), ("< 0.2", "undecided"), ("> 0.19", "undecided"), ("in [0.1, 0.3]", "holds")]
)
def test_a_single_rate(bound, verdict):
    got = _one(_claims(f"accuracy(convnet -> qvc200, pgd, 0.2) {bound}"), _attacked(50, 250))
    assert got.verdict == verdict
    (outcome,) = got.conditions
    assert (outcome.value, outcome.low, outcome.high) == pytest.approx((0.2, WILSON.low, WILSON.high))
    assert (outcome.n, outcome.verdict) == ((250,), verdict)
    assert outcome.text == f"accuracy(convnet -> qvc200, pgd, 0.2) {bound}"
    assert (got.reason, got.note, got.paper) == ("", "", None)


HOLDS, FAILS, UNDECIDED, MISSING = "clean(qvc200) < 0.5", "clean(qvc200) > 0.5", "clean(qvc200) < 0.2", "clean(nobody) < 0.2"


@pytest.mark.parametrize(
    ("criteria", "verdict"),
    [
        ([HOLDS, "clean(qvc200) > 0.1"], "holds"),
        ([HOLDS, FAILS], "fails"),
        ([HOLDS, UNDECIDED], "undecided"),
        ([UNDECIDED, FAILS], "fails"),
        ([HOLDS, MISSING], "not measured"),
        ([FAILS, MISSING], "not measured"),
    ],
)
def test_a_claim_holds_if_all_criteria_do(criteria, verdict):
    for order in (criteria, criteria[::-1]):
        assert _one(_claims(*order), _clean(50, 250), datasets={"mnist": 250}).verdict == verdict


def test_what_is_missing_is_named():
    claims = _claims("accuracy(convnet -> resnet18, autoattack, 0.2) / clean(resnet18) < 0.5", "clean(qvc200) < 0.5")
    got = _one(claims, _clean(50, 250))
    assert got.verdict == "not measured"
    assert got.reason == "needs accuracy(convnet -> resnet18, autoattack, 0.2): not measured (and 1 more)"
    assert [o.verdict for o in got.conditions] == ["not measured", "holds"]
    assert (got.conditions[0].value, got.conditions[0].low, got.conditions[0].high, got.conditions[0].n) == (None, None, None, ())
    got = _one(claims, _clean(50, 250), _clean(50, 250, "resnet18"))
    assert got.reason == "needs accuracy(convnet -> resnet18, autoattack, 0.2): not measured"


@pytest.mark.parametrize("other", [{"eps": 0.1}, {"source": "qvc200"}, {"target": "convnet"}, {"dataset": "cifar2"}])
def test_only_what_fits_is_used(other):
    claims = _claims("accuracy(convnet -> qvc200, pgd, 0.2) < 0.5")
    assert _one(claims, _attacked(50, 250)).verdict == "holds"
    assert _one(claims, _attacked(50, 250, **other)).verdict == "not measured"
    other_quantity = _measured("fooling", _right(50, 250), source="convnet", target="qvc200", attack="pgd", eps=0.2)
    other_attack = _measured("accuracy", _right(50, 250), source="convnet", target="qvc200", attack="fgsm", eps=0.2)
    assert _one(claims, other_quantity, other_attack).verdict == "not measured"


def test_an_eps_from_float32_is_found():
    assert _one(_claims("accuracy(convnet -> qvc200, pgd, 0.2) < 0.5"), _attacked(50, 250, eps=float(torch.tensor(0.2)))).verdict == "holds"


@pytest.mark.parametrize(
    ("k", "verdict"), [(1000, "holds"), (1020, "holds"), (940, "undecided"), (1060, "undecided"), (820, "fails"), (1180, "fails")]
)
def test_two_sided(k, verdict):
    """1,000 of 2,000 against k of 2,000 on other images: within .05 has .03 to spare on each side."""
    claims = _claims("accuracy(convnet -> qvc200, pgd, 0.2) - clean(qvc200) in [-0.05, 0.05]")
    got = _one(claims, _attacked(k, 2000), _clean(1000, 2000, images=torch.arange(5000, 7000)))
    assert got.verdict == verdict
    wilson = [stats.binomtest(i, 2000).proportion_ci(method="wilson") for i in (k, 1000)]
    below = np.hypot(k / 2000 - wilson[0].low, wilson[1].high - 0.5)
    above = np.hypot(wilson[0].high - k / 2000, 0.5 - wilson[1].low)
    outcome = got.conditions[0]
    assert (outcome.low, outcome.high) == pytest.approx((outcome.value - below, outcome.value + above))


def test_agreement_with_published_counts():
    claims = _claims("true_positives(convnet -> qvc500, mixed) - published(736 of 1000) covers 0")

    def detected(k):
        return _measured("true_positives", _right(k, 1000), source="convnet", target="qvc500", attack="mixed", eps=0.3)

    got = _one(claims, detected(730))
    assert (got.verdict, got.conditions[0].n) == ("holds", (1000, 1000))
    assert _one(claims, detected(690)).verdict == "fails"
    assert _one(claims, detected(780)).verdict == "fails"


def test_exact_numbers():
    claims = _claims("gates_real(qvc200) in [1000, 10000]")
    got = _one(claims, _measured("gates_real", [8823.0], target="qvc200"))
    assert (got.verdict, got.conditions[0].value, got.conditions[0].low, got.conditions[0].high, got.conditions[0].n) == ("holds", *[8823.0] * 3, ())
    assert got.note == ""
    assert _one(claims, _measured("gates_real", [10001.0], target="qvc200")).verdict == "fails"


def test_shares_leave_out_zero_perturbations():
    generator = torch.Generator().manual_seed(0)
    low, high = torch.rand(300, generator=generator).double() * 0.2, 0.4 + torch.rand(300, generator=generator).double() * 0.2
    high[:100], low[290:] = torch.nan, torch.nan
    measured = [_measured("low_frequency_share", v, source=s, attack="pgd", eps=0.1) for v, s in ((low, "convnet"), (high, "qvc500"))]
    criterion = "low_frequency_share(qvc500, pgd, 0.1) - low_frequency_share(convnet, pgd, 0.1) > 0.1"
    got = _one(_claims(criterion), *measured)
    difference = (high - low)[100:290].numpy()  # paired on the images that both have
    expected = stats.t.interval(0.95, 189, difference.mean(), stats.sem(difference))
    assert got.verdict == "holds"
    assert got.conditions[0].n == (190,)
    assert (got.conditions[0].low, got.conditions[0].high) == pytest.approx(expected, rel=1e-3)
    nothing = _measured("low_frequency_share", torch.full((5,), torch.nan), source="convnet", attack="pgd", eps=0.1)
    assert _one(_claims(criterion), measured[1], nothing).reason == "needs low_frequency_share(convnet, pgd, 0.1): no perturbation has any energy"


def test_a_rate_of_nothing_is_no_certainty():
    got = _one(_claims("accuracy(convnet -> qvc200, pgd, 0.2) / clean(qvc200) < 0.01"), _attacked(0, 250), _clean(9600, 10000))
    assert got.verdict == "undecided"
    assert (got.conditions[0].value, got.conditions[0].low) == (0, 0)
    assert got.conditions[0].n == (250, 10000)
    got = _one(_claims("accuracy(convnet -> qvc200, pgd, 0.2) / clean(qvc200) < 0.5"), _attacked(0, 250), _clean(0, 250))
    assert got.verdict == "undecided"
    assert (got.conditions[0].value, got.conditions[0].low, got.conditions[0].high) == (None, None, None)
    json.loads(verdicts_to_json([got]), parse_constant=pytest.fail)


# --- images


DIFFERENCE = "accuracy(convnet -> qvc200, pgd, 0.2) - accuracy(convnet -> resnet18, pgd, 0.2) > 0.2"


def test_differences_pair_images_by_their_position():
    generator = torch.Generator().manual_seed(2)
    a = (torch.rand(400, generator=generator) < 0.6).double()
    b = torch.where(torch.rand(400, generator=generator) < 0.8, a, 1 - a)
    expected = paired_difference(a.bool(), b.bool())
    order = torch.randperm(400, generator=generator)
    one = _measured("accuracy", a, source="convnet", target="qvc200", attack="pgd", eps=0.2)
    two = _measured("accuracy", b[order], order, source="convnet", target="resnet18", attack="pgd", eps=0.2)
    outcome = _one(_claims(DIFFERENCE), one, two).conditions[0]
    assert (outcome.value, outcome.low, outcome.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert outcome.n == (400,)


@pytest.mark.parametrize(
    ("qvc200", "resnet18", "n"),
    [
        (["0:250", "0:2000"], ["0:2000", "0:250"], (2000,)),  # the larger set that both have
        (["0:250"], ["0:250", "100:2100"], (250,)),
        (["0:2000"], ["100:350"], (250,)),  # a part of a larger set
        (["0:300", "5000:7000"], ["0:300", "7000:9000"], (300,)),
        (["0:250"], ["5000:7000"], (250, 2000)),  # nothing in common: independent
        (["0:250"], ["240:490"], (250, 250)),  # a chance overlap of ten
        (["0:250"], ["5000:7000", "240:490"], (250, 2000)),
    ],
)
def test_which_images(qvc200, resnet18, n):
    def measured(target, part):
        start, stop = (int(s) for s in part.split(":"))
        return _attacked((stop - start) // 2, stop - start, target=target, images=torch.arange(start, stop))

    measurements = [measured("qvc200", part) for part in qvc200] + [measured("resnet18", part) for part in resnet18]
    assert _one(_claims(DIFFERENCE), *measurements).conditions[0].n == n
    assert _one(_claims(DIFFERENCE), *measurements[::-1]).conditions[0].n == n


def test_the_right_values_of_a_part():
    values = torch.zeros(2000, dtype=torch.float64)
    values[100:350] = 1
    measured = [
        _measured("accuracy", values, source="convnet", target="qvc200", attack="pgd", eps=0.2),
        _attacked(0, 250, target="resnet18", images=torch.arange(100, 350)),
    ]
    assert _one(_claims(DIFFERENCE), *measured).conditions[0].value == 1


def test_clean_uses_all_images_and_clean_paired_the_same():
    clean, few = _clean(9000, 10000), _clean(250, 250)
    attacked = _attacked(1000, 2000)
    got = _one(_claims("clean(qvc200) - accuracy(convnet -> qvc200, pgd, 0.2) > 0"), few, attacked, clean).conditions[0]
    assert (got.value, got.n) == (0.9 - 0.5, (10000, 2000))
    got = _one(_claims("clean_paired(qvc200) - accuracy(convnet -> qvc200, pgd, 0.2) > 0"), few, attacked, clean).conditions[0]
    assert got.n == (2000,)
    assert got.value == pytest.approx(float(clean.values[:2000].mean()) - 0.5)
    expected = paired_difference(clean.values[:2000].bool(), attacked.values.bool())
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))


def test_notes_of_too_few_images():
    claims = _claims(DIFFERENCE, "clean(qvc200) > 0", more="images = 2000")
    few = [_attacked(125, 250), _attacked(20, 250, target="resnet18"), _clean(900, 1000)]
    got = _one(claims, *few)
    assert got.verdict == "holds"  # evaluated all the same
    assert got.note == "rests on 250 attacked images where the claim asks for 2000; rests on clean accuracy on 1000 of 10000 test images"
    assert _one(claims, *few, datasets={"mnist": 1000}).note == "rests on 250 attacked images where the claim asks for 1000"
    assert _one(claims, *few, datasets={"mnist": 250}).note == ""  # all test images there are
    assert _one(_claims(DIFFERENCE), *few).note == ""  # asks for no number
    many = [_attacked(1000, 2000), _attacked(200, 2000, target="resnet18"), _clean(9000, 10000)]
    assert _one(claims, *few, *many).note == ""


# --- variants, data sets, JSON


def test_variants_put_other_networks_in_their_place():
    claims = read(
        '[variants.tuned]\n[variants.paper]\nqvc200 = "qvc200-paper"\n[[claims]]\nid = "4"\ntext = "t"\nvariants = ["tuned", "paper"]\n'
        'criteria = ["accuracy(qvc200 -> qvc200-adv0.1, pgd, 0.2) - clean(convnet) < 0", "clean(qvc2000) > 0"]'
    )
    tuned, paper = evaluate(claims, [], {"mnist": 10})
    assert (tuned.variant, paper.variant) == ("tuned", "paper")
    assert [o.text for o in tuned.conditions] == ["accuracy(qvc200 -> qvc200-adv0.1, pgd, 0.2) - clean(convnet) < 0", "clean(qvc2000) > 0"]
    assert [o.text for o in paper.conditions] == [
        "accuracy(qvc200-paper -> qvc200-paper-adv0.1, pgd, 0.2) - clean(convnet) < 0",
        "clean(qvc2000) > 0",
    ]


def test_variants_are_judged_by_their_own_measurements():
    claims = read(SHIPPED)
    networks = {"qvc200": 150, "qvc200-paper": 140, "linear": 60, "quadratic": 90, "resnet18": 50}
    verdicts = evaluate(claims, [_attacked(k, 250, target=name) for name, k in networks.items()], {"mnist": 10000, "cifar2": 2000})
    found = {(v.id, v.dataset, v.variant): v.verdict for v in verdicts if v.verdict != "not measured"}
    assert found == {
        ("4", "mnist", "tuned"): "holds",
        ("4", "mnist", "paper"): "holds",
        ("4", "mnist", "linear"): "fails",
        ("4", "mnist", "quadratic"): "undecided",
    }


def test_data_sets_and_order():
    claims = _claims("clean(qvc200) < 0.5", more='datasets = ["mnist", "cifar2"]')
    assert [v.dataset for v in evaluate(claims, [], {"cifar2": 10, "celeba": 10})] == ["cifar2"]
    verdicts = evaluate(read(SHIPPED), [], {"mnist": 10000, "celeba": 2000})
    assert [v.variant for v in verdicts[:4]] == ["tuned", "paper", "linear", "quadratic"]
    assert [v.dataset for v in verdicts[:8]] == ["mnist"] * 4 + ["celeba"] * 4
    numbers = [int(v.id.split(".")[0]) for v in verdicts]
    assert numbers == sorted(numbers)


def test_json_is_what_the_report_reads():
    claims = _claims("accuracy(convnet -> qvc200, pgd, 0.2) < 0.5", more='paper = "holds"')
    (got,) = json.loads(verdicts_to_json(evaluate(claims, [_attacked(50, 250)], {"mnist": 10000})))
    (condition,) = got.pop("conditions")
    assert got == {
        "id": "1",
        "text": "a claim",
        "dataset": "mnist",
        "variant": "tuned",
        "verdict": "holds",
        "paper": "holds",
        "reason": "",
        "note": "",
    }
    assert condition == {
        "text": "accuracy(convnet -> qvc200, pgd, 0.2) < 0.5",
        "value": 0.2,
        "low": pytest.approx(WILSON.low),
        "high": pytest.approx(WILSON.high),
        "n": [250],
        "verdict": "holds",
        "seeds": [0],
    }


def test_all_of_the_shipped_claims_can_be_judged():
    """Every quantity measured, in one call: claims whose networks answer alike."""
    claims = read(SHIPPED)
    wanted = {q for v in ("tuned", "paper", "linear", "quadratic") for c in claims.claims for one in c.criteria for q in _in(claims, one, v)}
    measurements = []
    for i, q in enumerate(sorted(wanted, key=str)):
        values = [9000.0] if q.kind.scale == "exact" else torch.rand(60, generator=torch.Generator().manual_seed(i)).double()
        values = values if q.kind.scale != "rate" else (values < 0.7).double()
        if q.name != "clean_paired":
            measurements.append(_measured(q.name, values, source=q.source, target=q.target, attack=q.attack, eps=q.eps, dataset="fashion-mnist"))
    verdicts = evaluate(claims, measurements, {"fashion-mnist": 60})
    assert {v.id for v in verdicts} == {c.id for c in claims.claims} - {"11"}
    assert {v.verdict for v in verdicts} == {"holds", "fails", "undecided"}
    assert {v.verdict for v in verdicts if v.id == "13"} == {"holds"}
    json.loads(verdicts_to_json(verdicts), parse_constant=pytest.fail)


def _in(claims, criterion, variant):
    names = claims.variants[variant]

    def rename(name):
        base, dash, rest = name.partition("-adv")
        return names.get(base, base) + dash + rest

    return criterion.renamed(rename).quantities


# --- refusals


def _broken(**fields):
    good = {"values": torch.ones(3).double(), "images": torch.arange(3)}
    return Measurement("mnist", fields.pop("quantity", "accuracy"), "convnet", "qvc200", "pgd", 0.2, **{**good, **fields})


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"values": torch.ones(3)}, TypeError, r"values must be a float64 tensor \(N,\), got torch.float32 of shape \(3,\); convert it"),
        ({"values": [1.0, 0, 0]}, TypeError, r"values must be a float64 tensor \(N,\), got list"),
        ({"images": torch.arange(3).int()}, TypeError, r"images must be a int64 tensor \(N,\), got torch.int32"),
        ({"images": torch.arange(4)}, ValueError, "one value an image, one or more, got 3 values and 4 images"),
        ({"values": torch.ones(0).double(), "images": torch.arange(0)}, ValueError, "one value an image, one or more, got 0 values and 0 images"),
        ({"images": torch.tensor([1, 2, 1])}, ValueError, "an image occurs twice; give each image one value"),
        ({"values": torch.full((3,), 0.5).double()}, ValueError, "values of a rate must be 0 or 1"),
        ({"values": torch.full((3,), torch.nan).double()}, ValueError, "values of a rate must be 0 or 1"),
        ({"quantity": "low_frequency_share", "values": torch.tensor([0.1, torch.nan, 1.1]).double()}, ValueError, "values must be in .0, 1., or NaN"),
        ({"quantity": "gates_real"}, ValueError, "an exact number is one finite value, got 3 values"),
    ],
)
def test_measurements_are_checked(fields, error, message):
    with pytest.raises(error, match=r"^measurement \w+\(convnet -> qvc200, pgd, 0.2\) of 'mnist': " + message):
        _broken(**fields)
    _broken(quantity="anything else", values=torch.full((3,), 7.0).double())


def test_evaluate_refuses():
    claims = _claims("clean(qvc200) < 0.5")
    with pytest.raises(TypeError, match="datasets must map names to numbers of test images, got list; pass {'mnist': 10000}"):
        evaluate(claims, [], ["mnist"])
    with pytest.raises(TypeError, match=r"measurements must be qarmor.evaluation.Measurement, got dict"):
        evaluate(claims, [{}], {"mnist": 10})
