import math

import pytest

from qarmor.evaluation.criteria import QUANTITIES, Published, Quantity, criterion


@pytest.mark.parametrize(
    "text",
    [
        "accuracy(convnet -> resnet18, pgd, 0.2) / clean(resnet18) < 0.5",
        "accuracy(convnet -> qvc200-adv0.1, pgd-margin, 0.075) - accuracy(convnet -> resnet18, pgd, 0.2) > 0.2",
        "2 * clean(a) - 0.5 * clean(b) / clean(c) + clean_paired(d) in [-0.05, 0.05]",
        "-clean(a) - low_frequency_share(qvc500, pgd, 0.1) > -1",
        "noisy_accuracy(qvc200, bit-flip, 0.005) - clean_paired(qvc200) in [-0.05, 0.05]",
        "true_positives(convnet -> qvc500, mixed) - published(736 of 1000) covers 0",
        "false_positives(convnet -> qvc500) - 3 * published(7 of 9) covers -0.5",
        "gates_complex(qvc200) in [1000, 10000]",
    ],
)
def test_what_is_written_is_what_is_read(text):
    assert str(criterion(text)) == text


def test_spaces_and_signs_do_not_matter():
    wanted = criterion("accuracy(a -> b, pgd, 0.1) / clean(b) - 2 * clean(c) < -0.5")
    assert criterion("  +accuracy( a->b ,pgd,.1)/clean( b )-2.0*clean(c)<-.50 ") == wanted


def test_parts():
    got = criterion("accuracy(a -> b, pgd, 0.1) / clean(b) - 2 * published(3 of 4) + clean(b) < 0.5")
    ratio, rate, clean = got.terms
    assert ratio.over == Quantity("accuracy", "a", "b", "pgd", 0.1)
    assert ratio.under == Quantity("clean", target="b")
    assert (rate.coefficient, rate.over) == (-2, Published(3, 4))
    assert got.quantities == (ratio.over, ratio.under)  # clean(b) once
    assert clean.over == ratio.under
    assert (got.relation, got.low, got.high) == ("<", -math.inf, 0.5)


def test_other_networks():
    got = criterion("accuracy(a -> b, a, 0.1) / clean(b) - published(1 of 2) - low_frequency_share(a, pgd, 0.1) < 0.5")
    other = got.renamed({"a": "x", "b": "b", "": ""}.__getitem__)
    assert str(other) == "accuracy(x -> b, a, 0.1) / clean(b) - published(1 of 2) - low_frequency_share(x, pgd, 0.1) < 0.5"  # not the attack


@pytest.mark.parametrize(
    ("bound", "low", "high", "verdict"),
    [
        ("< 0.5", 0.4, 0.49, "holds"),
        ("< 0.5", 0.4, 0.5, "undecided"),
        ("< 0.5", 0.49, 0.51, "undecided"),
        ("< 0.5", 0.5, 0.6, "fails"),
        ("< 0.5", 0.5, 0.5, "fails"),
        ("> 0.5", 0.51, 0.6, "holds"),
        ("> 0.5", 0.5, 0.6, "undecided"),
        ("> 0.5", 0.4, 0.6, "undecided"),
        ("> 0.5", 0.3, 0.5, "fails"),
        ("> 0.5", 0.5, 0.5, "fails"),
        ("in [-1, 2]", -1, 2, "holds"),
        ("in [-1, 2]", -1.01, 2, "undecided"),
        ("in [-1, 2]", 0, 2.01, "undecided"),
        ("in [-1, 2]", -5, 5, "undecided"),
        ("in [-1, 2]", 2, 3, "undecided"),
        ("in [-1, 2]", 2.01, 3, "fails"),
        ("in [-1, 2]", -3, -1.01, "fails"),
        ("covers 0", -0.1, 0.1, "holds"),
        ("covers 0", 0, 0.1, "holds"),
        ("covers 0", 0.01, 0.1, "fails"),
        ("covers 0", -0.2, -0.1, "fails"),
        *((bound, -math.inf, math.inf, "undecided") for bound in ("< 0.5", "> 0.5", "in [-1, 2]")),
    ],
)
def test_judgement(bound, low, high, verdict):
    assert criterion(f"clean(a) {bound}").judge(low, high) == verdict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a quantity such as clean.convnet. at ''"),
        ("0.5 < 1", "expected a quantity such as clean.convnet. at '0.5 < 1'"),
        ("clean(a)", "expected '< number', '> number', 'in .low, high.' or 'covers number' to the end at ''"),
        ("clean(a) <= 0.5", "to the end at '<= 0.5'"),
        ("clean(a) == 0.5", "to the end at '== 0.5'"),
        ("clean(a) < 0.5 and more", "to the end at 'and more'"),
        ("clean(a) < b", "to the end at '< b'"),
        ("clean(a) * 2 < 1", "to the end at '. 2 < 1'"),
        ("clean(a) in [0.1]", "to the end at 'in .0.1.'"),
        ("clean(a) in [2, 1]", "'in' takes a lower and a higher number, got .2, 1."),
        ("clean(a) - < 0.5", "expected a quantity such as clean.convnet. at '< 0.5'"),
        ("0 * clean(a) < 0.5", "a coefficient must not be 0; leave the term out"),
        ("robustness(a) < 0.5", "unknown quantity 'robustness'; there are accuracy, clean, .*, published"),
        ("clean(a -> b) < 0.5", r"clean is asked as clean\(network\), got \(a -> b\)"),
        ("clean(a, pgd) < 0.5", r"clean is asked as clean\(network\), got \(a, pgd\)"),
        ("clean() < 0.5", "clean: target must be a name, got ''"),
        ("accuracy(b, pgd, 0.1) < 0.5", r"accuracy is asked as accuracy\(source -> target, attack, eps\), got \(b, pgd, 0.1\)"),
        ("accuracy(a -> b, pgd) < 0.5", "accuracy is asked as"),
        ("accuracy(a -> b -> c, 0.1) < 0.5", "accuracy is asked as"),
        ("accuracy(a -> b, pgd, high) < 0.5", "accuracy: eps must be a number, got 'high'"),
        ("accuracy(a -> b, pgd, 8) < 0.5", "accuracy: eps must be between 0 and 1, got 8"),
        ("accuracy(a -> b, p g d, 0.1) < 0.5", "accuracy: attack must be a name, got 'p g d'"),
        ("clean({x}) < 0.5", "clean: target must be a name, got '{x}'"),
        ("published(5 of 4) - clean(a) covers 0", "published takes counts as 'k of n', k at most n, got '5 of 4'"),
        ("published(0 of 0) - clean(a) covers 0", "published takes counts"),
        ("published(0.2) - clean(a) covers 0", "published takes counts"),
        ("clean(a) / published(1 of 2) < 1", "a published rate can't stand in a ratio; compare by a difference"),
        ("published(1 of 2) / clean(a) < 1", "a published rate can't stand in a ratio"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ValueError, match=message):
        criterion(text)


def test_quantities_that_share_measurements_are_asked_alike():
    for kind in QUANTITIES.values():
        assert (kind.fields, kind.scale) == (QUANTITIES[kind.measured].fields, QUANTITIES[kind.measured].scale)
