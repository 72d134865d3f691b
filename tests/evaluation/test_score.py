import math

import pytest
import torch
from torch import nn

from qarmor.evaluation import clean, craft, score, transfer, wilson
from qarmor.types import Classifier, Rows


def test_clean_rows(threshold, images):
    rows = clean({"exact": threshold(0.5), "off": threshold(0.3)}, images[2:])
    assert isinstance(rows, Rows)
    exact, off = rows
    assert (exact.target, exact.source, exact.attack, exact.eps, exact.parameters) == ("exact", "", "", 0.0, {})
    assert (exact.metric, exact.successes, exact.n, exact.value, exact.majority) == ("accuracy", 8, 8, 1.0, 5 / 8)
    assert (off.successes, off.value) == (6, 0.75)
    assert (off.low, off.high) == wilson(6, 8)
    assert off.dataset == "line/test"


def test_scores_worked_out_by_hand(threshold, images, sign_step):
    made = craft({"s": threshold(0.5)}, images, sign_step, 0.2, 3)  # pixels become .25 .35 .45 .55 .65 | .35 .45 .55 .65 .75
    accuracy, fooling = score({"t": threshold(0.4)}, made)
    # the target names pixels above .4 as 1: right on the first two and the last four
    assert (accuracy.metric, accuracy.successes, accuracy.n, accuracy.value, accuracy.majority) == ("accuracy", 6, 10, 0.6, 0.5)
    assert (accuracy.low, accuracy.high) == wilson(6, 10)
    assert (accuracy.source, accuracy.target, accuracy.attack, accuracy.parameters) == ("s", "t", "sign-step", {"steps": 1})
    assert (accuracy.eps, accuracy.seed, accuracy.dataset) == (0.2, 3, "line/test")
    # clean, the source has all right and the target all but .45; of the nine, 0.25 -> .45, .35 -> .55 and .55 -> .35 fool it
    assert (fooling.metric, fooling.successes, fooling.n, fooling.majority) == ("fooling_rate", 3, 9, None)
    assert fooling.value == pytest.approx(1 / 3)
    assert (fooling.low, fooling.high) == wilson(3, 9)


def test_the_sources_clean_mistakes_leave_the_fooling_rate(threshold, images, sign_step):
    made = craft({"s": threshold(0.3)}, images, sign_step, 0.01, 0)
    _, fooling = score({"t": threshold(0.5)}, made)
    assert (fooling.successes, fooling.n) == (0, 8)  # .35 and .45 fool the source when clean


def test_no_image_that_both_get_right(threshold, images, sign_step):
    made = craft({"s": threshold(0.5)}, images[:2], sign_step, 0.01, 0)
    accuracy, fooling = score({"t": threshold(0.0)}, made)
    assert (accuracy.successes, accuracy.n) == (0, 2)
    assert (fooling.successes, fooling.n, fooling.low, fooling.high) == (0, 0, 0.0, 1.0)
    assert math.isnan(fooling.value)
    Rows.from_json(Rows([accuracy, fooling]).to_json())


def test_eps_per_image_goes_into_the_parameters(threshold, images, sign_step):
    made = craft(threshold(), images, sign_step, torch.linspace(0.25, 0.5, 10), 0)
    for row in score({"t": threshold()}, made):
        assert row.eps is None
        assert row.parameters == {"steps": 1, "eps_low": 0.25, "eps_high": 0.5}
    assert made.parameters == {"steps": 1}


def test_flags_of_the_source_are_on_every_row(images, scripted):
    class OftenFlat(nn.Module):
        def forward(self, x):
            above = (x[:, 0] - 0.5).clamp(-0.4, 0.4)  # no slope below .1 and above .9: two images of ten
            return torch.stack([-above, above], 1)

    made = craft(OftenFlat(), images, scripted(lambda m, x, y, eps, seed: x), 0.1, 0)
    assert [row.flags for row in score({"t": OftenFlat()}, made)] == [("zero-gradient",)] * 2


def test_bad_targets(threshold, images, sign_step):
    made = craft(threshold(), images, sign_step, 0.1, 0)
    with pytest.raises(ValueError, match="targets is empty"):
        score({}, made)
    with pytest.raises(TypeError, match="targets must map names to modules, got Threshold"):
        score(threshold(), made)
    with pytest.raises(TypeError, match="adversarials must come from craft, got Tensor"):
        score({"t": threshold()}, made.x)
    with pytest.raises(ValueError, match="targets is empty"):
        clean({}, images)
    with pytest.raises(ValueError, match="targets: a network's name must be a non-empty string, got ''"):
        clean({"": threshold()}, images)
    with pytest.raises(ValueError, match="is empty"):
        clean({"t": threshold()}, images[:0])


def test_transfer_is_the_product_of_craft_and_score(threshold, images, sign_step):
    sources = {"a": threshold(0.5), "b": threshold(0.45)}
    targets = {"b": sources["b"], "c": threshold(0.7)}
    rows = transfer(sources, targets, images, sign_step, [0, 0.1, 0.3], 2)
    wanted = clean(targets, images)
    for source in sources:
        for eps in (0.0, 0.1, 0.3):
            wanted += score(targets, craft({source: sources[source]}, images, sign_step, eps, 2))
    strip = [(r.dataset, r.source, r.target, r.attack, r.eps, r.metric, r.successes, r.n, r.low, r.high, r.majority, r.seed) for r in rows]
    assert strip == [(r.dataset, r.source, r.target, r.attack, r.eps, r.metric, r.successes, r.n, r.low, r.high, r.majority, r.seed) for r in wanted]
    assert len(rows) == 2 + 2 * 3 * 2 * 2
    assert Rows.from_json(rows.to_json()).where(metric="accuracy") == rows.where(metric="accuracy")


def test_transfer_flags_its_rows(threshold, images, scripted):
    def broken_on_itself(model, x, y, eps, seed):
        return x if float(model.at) == 0.5 else (x + eps * (1 - 2 * y[:, None])).clamp(0, 1)

    sources = {"a": threshold(0.5), "b": threshold(0.49)}
    rows = transfer(sources, {"a": sources["a"]}, images, scripted(broken_on_itself), [0.3], 0)
    assert "transfer-beats-white-box" in rows.where(source="a", metric="accuracy")[0].flags
    assert "transfer-beats-white-box" not in rows.where(source="b", metric="accuracy")[0].flags


def test_transfer_freezes_and_asks_about_clean_images_once(images, sign_step):
    class Counting(Classifier):
        def __init__(self):
            super().__init__()
            self.frozen, self.asked = 0, []

        def freeze(self):
            self.frozen += 1
            model = nn.Linear(2, 2).requires_grad_(False)
            model.register_forward_hook(lambda module, args, out: self.asked.append(torch.equal(args[0], images.x)))
            return model

    both, other = Counting(), Counting()
    transfer({"both": both}, {"both": both, "other": other}, images, sign_step, [0.1, 0.2, 0.3], 0)
    assert (both.frozen, other.frozen) == (1, 1)
    assert other.asked == [True, False, False, False]
    # clean predictions, gradients, and the attack's own one step at each of three eps
    assert sum(both.asked) == 2 + 3


def test_progress(threshold, images, sign_step):
    seen = []
    models = {"a": threshold(), "b": threshold(0.4)}
    transfer(models, models, images, sign_step, [0, 0.1], 0, on_progress=lambda *report: seen.append(report))
    assert seen == [
        (1, 4, "sign-step on a, eps 0"),
        (2, 4, "sign-step on a, eps 0.1"),
        (3, 4, "sign-step on b, eps 0"),
        (4, 4, "sign-step on b, eps 0.1"),
    ]


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        ([], ValueError, "eps_grid is empty"),
        ([0.2, 0.1], ValueError, r"eps_grid must rise strictly, but has 0\.2 before 0\.1 at position 0; pass sorted"),
        ([0, 0.1, 0.1], ValueError, r"has 0\.1 twice at position 1"),
        ([-0.1, 0.1], ValueError, r"eps_grid\[0\] must be between 0 and 1"),
        ([0.1, 2], ValueError, r"eps_grid\[1\] must be between 0 and 1"),
        ([0.1, "0.2"], TypeError, r"eps_grid\[1\] must be a number, got str"),
        (0.1, TypeError, r"eps_grid must be a sequence of numbers, got 0\.1; pass \[0\.1\]"),
    ],
)
def test_bad_grids(threshold, images, sign_step, grid, error, message):
    with pytest.raises(error, match=message):
        transfer({"a": threshold()}, {"a": threshold()}, images, sign_step, grid, 0)


def test_bad_networks_in_transfer(threshold, images, sign_step):
    model = threshold()
    with pytest.raises(ValueError, match="sources is empty"):
        transfer({}, {"a": model}, images, sign_step, [0.1], 0)
    with pytest.raises(ValueError, match="targets is empty"):
        transfer({"a": model}, {}, images, sign_step, [0.1], 0)
    with pytest.raises(ValueError, match="the name 'a' means one network in sources and another in targets"):
        transfer({"a": model}, {"a": threshold()}, images, sign_step, [0.1], 0)
