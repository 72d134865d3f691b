"""Certificates against attacks from inside, brute force, scipy and the formulas written out; how close attacks come."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import optimize

from qarmor import data, models, training
from qarmor.attacks import APGD, FAB, PGD, APGDTargeted, AutoAttack, Square
from qarmor.evaluation.certificates import radii
from qarmor.evaluation.tightness import smallest_successful_attack, tightness
from qarmor.models import QVC, Quadratic


def circuit(qubits, layers, classes, pixels):
    """Forms of a random circuit, in float64."""
    return QVC(qubits, layers, classes, shape=(pixels,)).double().freeze().quadratic().A.detach()


def noisy(classes, pixels):
    """Forms as noise leaves them: damped, with offsets."""
    return 0.2 * circuit(6, 3, classes, pixels) + torch.linspace(0, 0.02, classes).double()[:, None, None] * torch.eye(pixels).double()


def control(classes, pixels):
    """Forms of no circuit: large, and not symmetric."""
    return 3 * torch.randn(classes, pixels, pixels).double()


def definite(classes, pixels):
    """Class 0 always wins: no rival's form reaches it."""
    A = 0.1 * torch.randn(classes, pixels, pixels).double()
    A[0] += 3 * math.sqrt(pixels) * torch.eye(pixels).double()
    return A


FORMS = {
    "circuit of 2 classes": lambda: circuit(6, 4, 2, 64),
    "circuit of 3 classes": lambda: circuit(6, 2, 3, 50),
    "circuit of 10 classes": lambda: circuit(10, 20, 10, 100),
    "noisy": lambda: noisy(3, 40),
    "control": lambda: control(4, 20),
    "definite": lambda: definite(3, 9),
}


def pictures(A, n=24):
    """Images with black and white pixels among others, named as the forms do."""
    x = (1.5 * torch.rand(n, A.shape[1]).double() - 0.25).clamp(0, 1)
    x[:, 0] = 0.5  # none is all zero
    return x, Quadratic(A)(x).argmax(1).detach()


def gap(A, x, y):
    """``x^T (A_y - A_j) x / ||x||^2`` of the nearest rival j, ``(N,)``, whatever the size of x."""
    f = torch.einsum("ni,kij,nj->nk", x, A, x) / x.square().sum(1, keepdim=True)
    own = f.gather(1, y[:, None])[:, 0]
    return own - f.scatter(1, y[:, None], -torch.inf).amax(1)


@pytest.mark.parametrize("kind", FORMS)
def test_no_attack_succeeds_inside_and_some_do_outside(kind, seed):
    A = FORMS[kind]()
    x, y = pictures(A)
    found = radii(A, x, y)
    assert found.correct.all()
    model = Quadratic(A)
    for value in found.in_linf.values():
        inside = PGD(loss="margin", restarts=5)(model, x, y, value, seed=seed)
        assert (gap(A, inside, y) >= found.slack).all()
    assert (found.linf_box >= found.linf).all()
    assert (found.exact_l2 >= found.hypothesis_testing_l2).all()
    if kind != "definite":
        outside = PGD(loss="margin", restarts=2)(model, x, y, (3 * found.linf_box).clamp(max=1), seed=seed)
        assert (gap(A, outside, y) < 0).double().mean() > 0.8


def test_no_attack_fools_a_trained_circuit_in_float32(seed):
    digits = data.load("digits")
    model = QVC.for_dataset(digits, 12)
    training.fit(model, digits.train, dataclasses.replace(training.recipe_for("qvc12"), epochs=6), seed=seed)
    frozen, images = model.freeze(), digits.test.subset(150, seed=0)
    found = radii(frozen.quadratic().A, images.x, images.y)
    right = frozen(images.x).argmax(1) == images.y
    assert ((found.correct == right) | (gap(frozen.quadratic().A.double(), images.x.flatten(1).double(), images.y).abs() < 1e-5)).all()
    assert found.correct.double().mean() > 0.4
    smallest = smallest_successful_attack(frozen, images, PGD(loss="margin"), steps=10, seed=seed)
    for name, value in found.in_linf.items():
        tight = tightness(value, smallest.eps)
        assert tight.violations == 0, name
    assert tight.median > 0.8  # of linf_box
    some = images[:60]
    radius, certified = found.linf_box[:60], found.correct[:60]
    others = (PGD(loss="ce"), APGD(steps=30, loss="dlr"), APGDTargeted(steps=20, targets=3), FAB(steps=15), Square(queries=300))
    for attack in (PGD(loss="margin", restarts=5), *others):
        inside = attack(frozen, some.x, some.y, radius, seed=seed)
        for network in (frozen, model):
            assert (network(inside).argmax(1) == some.y)[certified].all(), attack


@pytest.mark.slow
def test_autoattack_finds_nothing_inside(seed):
    digits = data.load("digits")
    model = QVC.for_dataset(digits, 20)
    training.fit(model, digits.train, dataclasses.replace(training.recipe_for("qvc20"), epochs=15), seed=seed)
    frozen, images = model.freeze(), digits.test
    found = radii(frozen.quadratic().A, images.x, images.y)
    inside = AutoAttack()(frozen, images.x, images.y, found.linf_box, seed=seed)
    assert (frozen(inside).argmax(1) == images.y)[found.correct].all()


@pytest.mark.parametrize("make", [lambda: circuit(2, 2, 2, 3), lambda: control(3, 3), lambda: noisy(2, 3)])
def test_every_point_of_a_fine_grid_inside_is_named_rightly(make, seed):
    A = make()
    x, y = pictures(A, 12)
    found = radii(A, x, y, slack=0.0)
    steps = torch.linspace(-1, 1, 41).double()
    cube = torch.cartesian_prod(steps, steps, steps)
    for i in range(len(x)):
        points = x[i] + found.linf[i] * cube  # formula 5 knows no box
        clipped = (x[i] + found.linf_box[i] * cube).clamp(0, 1)
        sphere = x[i] + found.exact_l2[i] * cube / cube.norm(dim=1, keepdim=True).clamp(min=1e-9)
        for some in (points, clipped, sphere):
            assert (gap(A, some, y[i].repeat(len(some))) > 0).all()


def numpy_formulas(A, x, y, j, slack):
    """Formulas 2 (with 3) and 5 of one image and rival, and 5c as a function of eps."""
    A, x = A.numpy(), x.numpy()
    B = (A[y] - A[j] + (A[y] - A[j]).T) / 2 - slack * np.eye(len(x))
    m, low = x @ B @ x, min(np.linalg.eigvalsh(B)[0], 0)
    p = 0.5 + m / (x @ x) / (4 + 2 * slack)
    testing = np.linalg.norm(x) * (math.sqrt(p) - math.sqrt(1 - p)) / math.sqrt(2)
    five = np.roots([len(x) * low, -2 * np.abs(B @ x).sum(), m])

    def box(eps):
        lo, hi = np.maximum(0, x - eps), np.minimum(1, x + eps)
        c, h = (lo + hi) / 2, (hi - lo) / 2
        return c @ B @ c - 2 * (h * np.abs(B @ c)).sum() + low * (h**2).sum()

    return testing, min(root.real for root in five if root.real > 0), box


@pytest.mark.parametrize("slack", [0.0, 0.002])
@pytest.mark.parametrize("kind", ["circuit of 2 classes", "circuit of 3 classes", "circuit of 10 classes", "noisy"])
def test_closed_forms_are_those_of_the_formulas(kind, slack, seed):
    A = FORMS[kind]()
    x, y = pictures(A, 8)
    found = radii(A, x, y, slack=slack)
    assert torch.equal(found.correct, gap(A, x, y) > slack)
    for i in found.correct.nonzero()[:, 0]:
        rivals = [numpy_formulas(A, x[i], int(y[i]), j, slack) for j in range(len(A)) if j != y[i]]
        assert float(found.hypothesis_testing_l2[i]) == pytest.approx(min(r[0] for r in rivals), rel=1e-7, abs=1e-10)
        assert float(found.linf[i]) == pytest.approx(min(r[1] for r in rivals), rel=1e-6)
        radius = float(found.linf_box[i])
        assert all(r[2](radius) > 0 for r in rivals)
        assert any(r[2](radius * 1.0005) <= 0 for r in rivals) or radius == float(found.linf[i])
    root = math.sqrt(A.shape[1])
    assert torch.allclose(found.exact_linf, found.exact_l2 / root)
    assert torch.allclose(found.hypothesis_testing_linf, found.hypothesis_testing_l2 / root)


def test_hypothesis_testing_is_the_binary_formula_of_the_literature(seed):
    """F 2: robust if sqrt(p) - sqrt(1 - p) > sqrt(2 (1 - F)) (Guan, Fang and Ying 2021) where one readout decides, p = (1 + |f|) / 2."""
    z = torch.diag(torch.tensor([1.0, 1, -1, -1], dtype=torch.float64))
    A = torch.stack([z, -z])  # f_0 - f_1 = 2 <Z>
    x, y = pictures(A, 20)
    found = radii(A, x, y, slack=0.0)
    f = gap(A, x, y) / 2
    p = (1 + f) / 2
    expected = x.norm(dim=1) * (p.sqrt() - (1 - p).sqrt()) / math.sqrt(2)
    assert torch.allclose(found.hypothesis_testing_l2, expected, rtol=1e-6, atol=1e-9)
    assert torch.allclose(found.exact_l2, expected, rtol=1e-5, atol=1e-9)  # here it is exact


@pytest.mark.parametrize("make", [lambda: circuit(3, 2, 3, 6), lambda: control(3, 5), lambda: noisy(2, 6)])
def test_exact_l2_is_the_optimum_that_scipy_finds(make, seed):
    A = make()
    x, y = pictures(A, 6)
    found = radii(A, x, y, slack=0.0)
    for i in range(len(x)):
        best = math.inf
        for j in range(len(A)):
            if j == y[i]:
                continue
            B = ((A[y[i]] - A[j]) + (A[y[i]] - A[j]).T).numpy() / 2
            z = x[i].numpy()
            constraint = {"type": "ineq", "fun": lambda v, B=B: -(v @ B @ v), "jac": lambda v, B=B: -2 * B @ v}
            for _ in range(12):
                start = z + np.random.default_rng(seed + j).normal(size=len(z)) * 0.5
                got = optimize.minimize(
                    lambda v, z=z: ((v - z) ** 2).sum(),
                    start,
                    jac=lambda v, z=z: 2 * (v - z),
                    constraints=constraint,
                    method="SLSQP",
                    options={"maxiter": 500, "ftol": 1e-14},
                )
                seed += 1
                if got.x @ B @ got.x <= 1e-9:
                    best = min(best, math.sqrt(got.fun))
        assert float(found.exact_l2[i]) <= best * (1 + 1e-6)
        assert float(found.exact_l2[i]) == pytest.approx(best, rel=1e-4)


def nearest_on_boundary(B, x):
    b, v = np.linalg.eigh(B)
    c = v.T @ x
    top = -1 / b[0]

    def value(t):
        return (b * c**2 / (1 + t * b) ** 2).sum()

    if value(top * (1 - 1e-9)) < 0:
        return v @ (c / (1 + optimize.brentq(value, 0, top * (1 - 1e-9), xtol=1e-14, rtol=1e-14) * b))
    lowest = b - b[0] < 1e-9  # the image has nothing along these: go on along one of them until the boundary
    w = np.where(lowest, 0, c / np.where(lowest, 1, 1 + top * b))
    return v @ w + v[:, 0] * math.sqrt((b * w**2).sum() * top)


@pytest.mark.parametrize("kind", ["circuit of 2 classes", "circuit of 3 classes", "circuit of 10 classes", "noisy", "control"])
def test_exact_l2_has_a_witness(kind, seed):
    """At the radius, times 1 + 1e-5, lies a vector that is named wrongly: (I + lambda B)^-1 x."""
    A = FORMS[kind]()
    x, y = pictures(A)
    found = radii(A, x, y, slack=0.0)
    for i in range(len(x)):
        nearest = None
        for j in range(len(A)):
            if j == y[i]:
                continue
            B = ((A[y[i]] - A[j]) + (A[y[i]] - A[j]).T).numpy() / 2
            boundary = torch.from_numpy(nearest_on_boundary(B, x[i].numpy()))
            if nearest is None or (boundary - x[i]).norm() < (nearest - x[i]).norm():
                nearest = boundary
        assert float((nearest - x[i]).norm()) == pytest.approx(float(found.exact_l2[i]), rel=1e-5)
        assert (nearest - x[i]).norm() >= found.exact_l2[i]
        assert gap(A, (x[i] + (nearest - x[i]) * (1 + 1e-6))[None], y[i : i + 1]) < 0
        assert gap(A, (x[i] + (nearest - x[i]) * (1 - 1e-6))[None], y[i : i + 1]) > 0


def test_where_no_rival_can_win_only_zero_is_not_certified(seed):
    A = definite(3, 9)
    x, y = pictures(A)
    found = radii(A, x, y)
    assert torch.allclose(found.exact_l2, x.norm(dim=1), rtol=1e-5)
    assert (found.exact_l2 <= x.norm(dim=1)).all()
    assert (found.linf_box < x.amax(1)).all()


def test_the_gap_stays_above_the_slack(seed):
    A = circuit(6, 3, 3, 40)
    x, y = pictures(A, 60)
    slack = float(gap(A, x, y).median())
    found, free = radii(A, x, y, slack=slack), radii(A, x, y, slack=0.0)
    assert found.slack == slack
    assert torch.equal(found.correct, gap(A, x, y) > slack)
    assert found.correct.sum() == len(x) // 2
    for name in found.in_linf:
        assert (found.in_linf[name] <= free.in_linf[name]).all()
        inside = PGD(loss="margin", restarts=3)(Quadratic(A), x, y, found.in_linf[name], seed=seed)
        assert (gap(A, inside, y) > slack - 1e-12)[found.correct].all()
    assert float(found.linf_box[found.correct].max()) > 0


def test_the_default_slack_covers_what_float32_does_to_a_circuit(seed):
    model = QVC(8, 100, 4, logit_scale=1.0, shape=(200,))
    exact = model.freeze().quadratic().A.double()
    x = torch.rand(500, 200)
    f = torch.einsum("ni,kij,nj->nk", x.double(), exact, x.double()) / x.double().square().sum(1, keepdim=True)
    worst = max(float((each(x).detach().double() - f).abs().max()) for each in (model, model.freeze(), model.freeze().quadratic()))
    slack = radii(model.freeze().quadratic().A, x, f.argmax(1)).slack
    assert 0 < 2 * worst < slack < 1e-4
    assert radii(exact, x, f.argmax(1)).slack < 1e-13


def test_a_common_factor_and_an_antisymmetric_part_change_nothing(seed):
    A = control(3, 12)
    x, y = pictures(A)
    found = radii(A, x, y, slack=0.0)
    skew = torch.randn_like(A)
    for other in (7 * A, 0.01 * A, A + skew - skew.transpose(1, 2)):
        again = radii(other, x, y, slack=0.0)
        assert torch.allclose(again.exact_l2, found.exact_l2, rtol=1e-5)
        assert torch.allclose(again.linf, found.linf, rtol=1e-6)
        assert torch.allclose(again.linf_box, found.linf_box, rtol=1e-3)


def test_shapes_dtypes_and_chunks_change_nothing(seed):
    A = circuit(4, 3, 2, 16).float()
    x, y = pictures(A.double(), 300)
    found = radii(A, x.float().reshape(300, 1, 4, 4), y)
    again = radii(A, x.float()[290:], y[290:])
    for field in ("exact_l2", "linf", "linf_box", "hypothesis_testing_l2"):
        assert getattr(found, field).dtype == torch.float64
        assert torch.allclose(getattr(found, field)[290:], getattr(again, field), rtol=1e-9)


def test_padding_is_restricted_to_the_pixels(seed):
    torch.manual_seed(seed)
    model = QVC(6, 3, 3, shape=(1, 6, 6), padding="centre").double()
    x = torch.rand(10, 1, 6, 6).double()
    whole = models.QVC(6, 3, 3, padding="centre").double()
    whole.load_state_dict(model.state_dict())
    y = model(x).argmax(1)
    found = radii(model.freeze().quadratic().A, x, y)
    padded = radii(whole.freeze().quadratic().A, torch.nn.functional.pad(x, (1, 1, 1, 1)), y)
    assert found.correct.all()
    assert (found.exact_l2 >= padded.exact_l2 * (1 - 1e-9)).all()  # fewer directions to go
    assert torch.allclose(found.hypothesis_testing_l2, padded.hypothesis_testing_l2)
    with pytest.raises(ValueError, match=r"A is about images of 64 values, got x of shape \(10, 1, 6, 6\); restrict A to the rows and columns"):
        radii(whole.freeze().quadratic().A, x, y)


def test_what_is_wrong_tied_or_zero_has_no_radius(seed):
    A = circuit(4, 2, 3, 16)
    x, y = pictures(A, 5)
    x[4] = 0
    y[1] = (y[1] + 1) % 3
    found = radii(A, x, y)
    assert found.correct.tolist() == [True, False, True, True, False]
    for value in (*found.in_linf.values(), found.exact_l2, found.hypothesis_testing_l2):
        assert ((value > 0) == found.correct).all()
        assert value.isfinite().all()
    tied = radii(torch.stack([A[0], A[0]]), x, torch.zeros(5, dtype=torch.int64))
    assert not tied.correct.any()
    assert not tied.linf_box.any()
    none = radii(A, x[:0], y[:0])
    assert none.linf_box.shape == none.correct.shape == (0,)


def test_bad_arguments():
    A, x, y = torch.eye(4).repeat(2, 1, 1), torch.rand(3, 4), torch.zeros(3, dtype=torch.int64)
    for arguments, kind, message in (
        (([[1.0]], x, y), TypeError, "A must be a float tensor, got list"),
        ((A, (x * 255).byte(), y), TypeError, "x must be a float tensor, got torch.uint8"),
        ((A * math.nan, x, y), ValueError, "A must be finite, got NaN or infinity"),
        ((A, x / 0, y), ValueError, "x must be finite"),
        ((A[0], x, y), ValueError, r"A must be \(K, d, d\) with K at least 2, got shape \(4, 4\)"),
        ((A[:1], x, y), ValueError, r"A must be \(K, d, d\) with K at least 2, got shape \(1, 4, 4\)"),
        ((A, x[:, :3], y), ValueError, r"A is about images of 4 values, got x of shape \(3, 3\)"),
        ((A, x[0], y), ValueError, r"A is about images of 4 values, got x of shape \(4,\)"),
        ((A, x, y.float()), TypeError, "y must be int64 labels, got torch.float32; use y.long()"),
        ((A, x, y[:2]), ValueError, r"y must hold one label an image, shape \(3,\), got \(2,\)"),
        ((A, 2 + x, y), ValueError, r"x must lie within \[0, 1\], got values from 2\.?\d* to "),
        ((A, x, y + 2), ValueError, "y must hold labels 0 to 1, since A has 2 forms, got 2"),
    ):
        with pytest.raises(kind, match=message):
            radii(*arguments)
    with pytest.raises(ValueError, match=r"slack must be a finite number, 0 or more, got -0\.1"):
        radii(A, x, y, slack=-0.1)
