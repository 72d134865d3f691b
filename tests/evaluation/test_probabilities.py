import pytest
import torch

from qarmor.evaluation import probabilities_against_eps


def test_curves_are_the_softmax_along_the_attack(threshold, images, sign_step):
    models = {"soft": threshold(0.5, scale=1.0), "hard": threshold(0.6, scale=5.0)}
    curves = probabilities_against_eps(models, images[8:9], sign_step, [0, 0.1, 0.3], 4)
    assert (curves.dataset, curves.index, curves.label, curves.attack) == ("line/test", 8, 1, "sign-step")
    assert (curves.eps, curves.seed) == ((0.0, 0.1, 0.3), 4)
    assert list(curves.probabilities) == ["soft", "hard"]
    for name, at, scale in (("soft", 0.5, 1.0), ("hard", 0.6, 5.0)):
        got = curves.probabilities[name]
        above = torch.sigmoid(2 * scale * (0.85 - torch.tensor([0.0, 0.1, 0.3]) - at)).double()  # its label is 1, so the pixel falls
        torch.testing.assert_close(got, torch.stack([1 - above, above], 1), rtol=0, atol=1e-6)
        assert got.dtype == torch.float64


def test_each_network_is_attacked_itself(threshold, images, scripted):
    seen = []
    attack = scripted(lambda m, x, y, eps, seed: seen.append((round(float(m.at), 2), eps, seed)) or x)
    probabilities_against_eps({"a": threshold(0.25), "b": threshold(0.5)}, images[:1], attack, [0.1, 0.2], 9)
    assert seen == [(0.25, 0.1, 9), (0.25, 0.2, 9), (0.5, 0.1, 9), (0.5, 0.2, 9)]


def test_refusals(threshold, images, sign_step):
    with pytest.raises(ValueError, match=r"image must hold one image, got 10; pass a slice"):
        probabilities_against_eps({"a": threshold()}, images, sign_step, [0.1], 0)
    with pytest.raises(ValueError, match="models is empty"):
        probabilities_against_eps({}, images[:1], sign_step, [0.1], 0)
    with pytest.raises(ValueError, match="eps_grid is empty"):
        probabilities_against_eps({"a": threshold()}, images[:1], sign_step, [], 0)
