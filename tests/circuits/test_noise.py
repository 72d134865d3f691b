"""Noisy readouts against PennyLane's default.mixed, a density matrix, quantum trajectories, and what can be said in closed form."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from qarmor.circuits import dense, expectations, reference
from qarmor.circuits.noise import Noise, forms

PLACES = ("end", "layer", "gate")
X = torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128)
Z = torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128)
Y = 1j * X @ Z
EYE = torch.eye(2, dtype=torch.complex128)


def random_channel(operators: int) -> list[list[list[list[float]]]]:
    """Kraus operators of a random channel, not unital, as they stand in JSON: columns of a random isometry."""
    isometry, _ = torch.linalg.qr(torch.randn(2 * operators, 2, dtype=torch.complex128))
    return torch.view_as_real(isometry.reshape(operators, 2, 2)).tolist()


def drawn(kind: str, where: str, most: float = 0.3) -> Noise:
    if kind == "kraus":
        return Noise("kraus", where=where, kraus=random_channel(3))
    return Noise(kind, float(torch.rand(())) * most, where)


KINDS = ("depolarising", "amplitude-damping", "bit-flip", "phase-flip", "kraus")


def operators_of(noise: Noise) -> list[Tensor]:
    """Written once more, by the textbook."""
    p = noise.rate
    match noise.kind:
        case "depolarising":
            return [math.sqrt(1 - 3 * p / 4) * EYE, *(math.sqrt(p / 4) * pauli for pauli in (X, Y, Z))]
        case "amplitude-damping":
            decay = torch.tensor([[0, math.sqrt(p)], [0, 0]], dtype=torch.complex128)
            return [torch.diag(torch.tensor([1, math.sqrt(1 - p)], dtype=torch.complex128)), decay]
        case "bit-flip":
            return [math.sqrt(1 - p) * EYE, math.sqrt(p) * X]
        case "phase-flip":
            return [math.sqrt(1 - p) * EYE, math.sqrt(p) * Z]
        case "kraus":
            return list(torch.tensor(noise.kraus, dtype=torch.complex128))
    raise AssertionError(noise.kind)


def unit_vectors(count: int, qubits: int) -> Tensor:
    x = torch.randn(count, 1 << qubits, dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True)


def values(a: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("bi,kij,bj->bk", x, a, x)


# --- PennyLane ---------------------------------------------------------------------------------------------------------------------------------


def pennylane(x: Tensor, weights: Tensor, noise: Noise) -> Tensor:
    qml = pytest.importorskip("pennylane", reason="PennyLane is not installed (extra: interop)")
    layers, qubits, _ = weights.shape
    angles = weights.tolist()
    p = noise.rate
    one = {
        "depolarising": lambda q: qml.DepolarizingChannel(0.75 * (p or 0), wires=q),
        "amplitude-damping": lambda q: qml.AmplitudeDamping(p, wires=q),
        "bit-flip": lambda q: qml.BitFlip(p, wires=q),
        "phase-flip": lambda q: qml.PhaseFlip(p, wires=q),
        "kraus": lambda q: qml.QubitChannel([np.array(k) for k in noise.kraus], wires=q),
    }
    strings = list(itertools.product(*[[EYE, X, Y, Z]] * qubits))

    def everywhere():
        found = []
        for number, string in enumerate(strings):
            matrix = string[0]
            for pauli in string[1:]:
                matrix = torch.kron(matrix, pauli)
            found.append(math.sqrt(p / 4**qubits + (1 - p if number == 0 else 0)) * matrix.numpy())
        qml.QubitChannel(found, wires=range(qubits))

    def hit(place: str, *wires: int) -> None:
        if place != noise.where:
            return
        if noise.kind == "global-depolarising":
            everywhere()
            return
        for q in wires:
            one[noise.kind](q)

    @qml.qnode(qml.device("default.mixed", wires=qubits))
    def circuit(state):
        qml.StatePrep(state, wires=range(qubits))
        for t in range(layers):
            for q in range(qubits):
                for rotation, angle in zip((qml.RZ, qml.RY, qml.RZ), angles[t][q], strict=True):
                    rotation(angle, wires=q)
                    hit("gate", q)
            for q in range(qubits - 1):
                qml.CZ(wires=[q, q + 1])
                hit("gate", q, q + 1)
            hit("layer", *range(qubits))
        hit("end", *range(qubits))
        return [qml.expval(qml.PauliZ(q)) for q in range(qubits)]

    return torch.tensor([[float(v) for v in circuit(state.numpy())] for state in x], dtype=torch.float64)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("kind", "qubits", "layers"),
    [
        *((kind, *size) for kind in [*KINDS, "global-depolarising"] for size in ((2, 3), (3, 2))),
        *(pytest.param(kind, *size, marks=pytest.mark.slow) for kind in KINDS for size in ((4, 3), (5, 2))),
    ],
)
def test_pennylane(kind, where, qubits, layers, seed):
    weights = 7 * torch.randn(layers, qubits, 3, dtype=torch.float64)
    noise = drawn(kind, where)
    x = unit_vectors(2, qubits)
    wanted = pennylane(x, weights, noise)
    got = values(forms(weights, qubits, noise), x)
    clean = expectations(x, weights, implementation="reference")
    assert (got - wanted).abs().max() < 1e-6
    assert (clean - wanted).abs().max() > 1e-4 or kind == "phase-flip", "the noise did nothing, so this tested nothing"


# --- a density matrix, gate by gate ------------------------------------------------------------------------------------------------------------


def on_wire(rho: Tensor, operators: list[Tensor], wire: int) -> Tensor:
    """Channel on one wire of ``(2,) * 2n``: kets first, then bras."""
    n = rho.ndim // 2
    total = torch.zeros_like(rho)
    for k in operators:
        left = torch.movedim(torch.tensordot(k, rho, dims=([1], [wire])), 0, wire)
        total += torch.movedim(torch.tensordot(k.conj(), left, dims=([1], [n + wire])), 0, n + wire)
    return total


def density(x: Tensor, weights: Tensor, noise: Noise) -> Tensor:
    """<Z_k> of one state ``(2^n,)``, ``(n,)``."""
    _, n, _ = weights.shape
    channel = operators_of(noise)
    rho = torch.outer(x, x).to(torch.complex128).reshape([2] * 2 * n)

    def hit(rho: Tensor, place: str, *wires: int) -> Tensor:
        for q in wires if place == noise.where else ():
            rho = on_wire(rho, channel, q)
        return rho

    for angles in weights:
        for q in range(n):
            for make, angle in zip((reference.rz, reference.ry, reference.rz), angles[q], strict=True):
                rho = hit(on_wire(rho, [make(angle)], q), "gate", q)
        for q in range(n - 1):
            rho = rho.clone()
            for side in (0, n):
                both = [slice(None)] * (2 * n)
                both[side + q] = both[side + q + 1] = slice(1, 2)
                rho[tuple(both)] *= -1
            rho = hit(rho, "gate", q, q + 1)
        rho = hit(rho, "layer", *range(n))
    rho = hit(rho, "end", *range(n))
    probabilities = rho.reshape(1 << n, 1 << n).diagonal().real.reshape([2] * n)
    zeros = [probabilities.select(q, 0).sum() for q in range(n)]
    return torch.stack([2 * zero - 1 for zero in zeros])


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("qubits", "layers"), [(1, 3), (3, 0), (4, 5), (6, 2), (7, 2), pytest.param(8, 3, marks=pytest.mark.slow)])
def test_density_matrix(kind, where, qubits, layers, seed):
    weights = torch.randn(layers, qubits, 3, dtype=torch.float64) * 6
    special = torch.rand(weights.shape) < 0.2
    weights[special] = (torch.randint(-6, 7, weights.shape).double() * (torch.pi / 2))[special]
    noise = drawn(kind, where, most=1.0)
    x = unit_vectors(1, qubits)
    wanted = density(x[0], weights, noise)
    got = values(forms(weights, qubits, noise), x)[0]
    assert (got - wanted).abs().max() < 1e-12


# --- quantum trajectories ----------------------------------------------------------------------------------------------------------------------


def trajectories(x: Tensor, weights: Tensor, noise: Noise, count: int) -> Tensor:
    """<Z_k> of ``count`` random histories of one state, ``(count, n)``: at each channel one Kraus operator is drawn by its probability (Dalibard,
    Castin and Molmer, PRL 68, 580 (1992))."""
    _, n, _ = weights.shape
    channel = torch.stack(operators_of(noise))
    effects = torch.einsum("mji,mjk->mik", channel.conj(), channel)
    psi = x.to(torch.complex128).expand(count, -1).clone()

    def rotated(psi: Tensor, gates: Tensor, wire: int) -> Tensor:
        """``gates`` ``(2, 2)`` or ``(count, 2, 2)``."""
        zero, one = psi.reshape(count, 1 << wire, 2, -1).unbind(2)
        g = gates.expand(count, 2, 2)[:, :, :, None, None]
        return torch.stack([g[:, 0, 0] * zero + g[:, 0, 1] * one, g[:, 1, 0] * zero + g[:, 1, 1] * one], 2).reshape(count, -1)

    def hit(psi: Tensor, place: str, *wires: int) -> Tensor:
        for q in wires if place == noise.where else ():
            halves = psi.reshape(count, 1 << q, 2, -1)
            reduced = torch.einsum("bhil,bhjl->bij", halves, halves.conj())
            chances = torch.einsum("mij,bji->bm", effects, reduced).real.clamp(min=0)
            choice = torch.multinomial(chances, 1)[:, 0]
            psi = rotated(psi, channel[choice], q)
            psi = psi / psi.norm(dim=1, keepdim=True)
        return psi

    signs = torch.ones(n, 1 << n, dtype=torch.float64)
    index = torch.arange(1 << n)
    for q in range(n - 1):
        signs[q, (index >> (n - 1 - q) & 1 & (index >> (n - 2 - q))).bool()] = -1
    for angles in weights:
        for q in range(n):
            for make, angle in zip((reference.rz, reference.ry, reference.rz), angles[q], strict=True):
                psi = hit(rotated(psi, make(angle), q), "gate", q)
        for q in range(n - 1):
            psi = hit(psi * signs[q], "gate", q, q + 1)
        psi = hit(psi, "layer", *range(n))
    psi = hit(psi, "end", *range(n))
    z = 1 - 2 * (index[:, None] >> torch.arange(n - 1, -1, -1) & 1)
    return psi.abs().square() @ z.double()


SMALL, LARGE = (6, 20, 1500), (10, 200, 200)


@pytest.mark.parametrize(("kind", "size"), [("amplitude-damping", SMALL), *(pytest.param(k, LARGE, marks=pytest.mark.slow) for k in KINDS[:3])])
@pytest.mark.parametrize("where", PLACES)
def test_trajectories(kind, size, where, seed):
    """Rates are such that about one event befalls the readout, whose value in this state is nearly -1, so that a fault cannot hide."""
    qubits, layers, count = size
    weights = torch.rand(layers, qubits, 3, dtype=torch.float64) * 2 * torch.pi
    noise = Noise(kind, {"end": 0.5, "layer": 1 / (qubits * layers), "gate": 1 / ((5 * qubits - 2) * layers)}[where], where)
    clean = dense.forms(dense.matrix(weights, torch.arange(1 << qubits)), 1)[0]
    x = torch.linalg.eigh(clean).eigenvectors[:, 0]
    exact = values(forms(weights, qubits, noise), x[None])[0]
    sample = trajectories(x, weights, noise, count)
    error = sample.std(0) / math.sqrt(count)
    assert ((sample.mean(0) - exact).abs() < 5 * error + 1e-12).all(), f"{(sample.mean(0) - exact) / error} standard errors"
    assert (x @ clean @ x - exact[0]).abs() > 6 * error[0], "the noise is too weak to be seen"


# --- closed forms ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("qubits", [1, 2, 3, 5, 7, 8])
def test_without_noise_it_is_the_circuit(qubits, where, seed):
    weights = torch.randn(4, qubits, 3) * 5
    x = unit_vectors(3, qubits)
    wanted = expectations(x, weights.double(), implementation="reference")
    for noise in (Noise("depolarising", 0, where), Noise("global-depolarising", 0.0, where), Noise("kraus", where=where, kraus=[[[0, 1j], [1j, 0]]])):
        if noise.kind == "kraus" and where != "end":
            continue
        sign = -1 if noise.kind == "kraus" else 1  # an X at the end turns Z around
        assert (values(forms(weights, qubits, noise), x) - sign * wanted).abs().max() < 1e-12


@pytest.mark.parametrize(("where", "times"), [("end", 1), ("layer", 6), ("gate", 6 * 15)])
def test_global_depolarising_scales(where, times, seed):
    weights = torch.randn(6, 4, 3, dtype=torch.float64)
    clean, noisy = (forms(weights, 3, Noise("global-depolarising", p, where)) for p in (0.0, 0.01))
    assert (noisy - 0.99**times * clean).abs().max() < 1e-15


def test_the_end_in_closed_form(seed):
    weights = torch.randn(3, 4, 3, dtype=torch.float64)
    clean = forms(weights, 4, Noise("bit-flip", 0.0, "end"))
    eye = torch.eye(16, dtype=torch.float64)
    for kind, p, wanted in (
        ("bit-flip", 0.2, 0.6 * clean),
        ("bit-flip", 0.5, 0 * clean),
        ("bit-flip", 1.0, -clean),
        ("phase-flip", 0.3, clean),
        ("depolarising", 0.3, 0.7 * clean),
        ("depolarising", 1, 0 * clean),
        ("amplitude-damping", 0.3, 0.7 * clean + 0.3 * eye),
        ("amplitude-damping", 1.0, eye.expand(4, 16, 16)),
    ):
        assert (forms(weights, 4, Noise(kind, p, "end")) - wanted).abs().max() < 1e-14, kind


@pytest.mark.parametrize("where", PLACES)
def test_a_named_kind_is_its_kraus_list(where, seed):
    weights = torch.randn(3, 4, 3, dtype=torch.float64)
    for kind in KINDS[:-1]:
        named = drawn(kind, where)
        listed = Noise("kraus", where=where, kraus=[k.tolist() for k in operators_of(named)])
        assert (forms(weights, 4, named) - forms(weights, 4, listed)).abs().max() < 1e-14, kind


def test_forms_are_observables(seed):
    weights = torch.randn(4, 5, 3, dtype=torch.float64)
    for kind, where in itertools.product(KINDS, PLACES):
        a = forms(weights, 5, drawn(kind, where))
        assert a.shape == (5, 32, 32)
        assert a.dtype == torch.float64
        assert (a - a.mT).abs().max() < 1e-15
        assert torch.linalg.eigvalsh(a).abs().max() < 1 + 1e-12
        if kind not in ("amplitude-damping", "kraus"):  # unital: no constant is left
            assert a.diagonal(dim1=1, dim2=2).sum(1).abs().max() < 1e-12


def test_strong_noise_leaves_no_constant(seed):
    """What is left may be tiny, but it is what decides; rounding must not add a constant to it. And in the end it is zero."""
    weights = torch.randn(60, 4, 3, dtype=torch.float64)
    a = forms(weights, 4, Noise("depolarising", 0.2, "gate"))
    assert 0 < a.abs().max() < 1e-20
    assert a.diagonal(dim1=1, dim2=2).sum(1).abs().max() < 1e-10 * a.abs().max()
    assert not forms(weights, 4, Noise("depolarising", 0.99, "gate")).any()
    left = forms(weights, 2, Noise("amplitude-damping", 0.999, "gate"))
    assert (left - left[:, :1, :1] * torch.eye(16)).abs().max() < 1e-15, "all images alike"


def test_positions_take_rows_and_columns(seed):
    weights = torch.randn(3, 5, 3, dtype=torch.float64)
    noise = drawn("amplitude-damping", "gate")
    some = torch.randperm(32)[:11]
    assert torch.equal(forms(weights, 3, noise, some), forms(weights, 3, noise)[:, some[:, None], some])


def test_threads_change_nothing(seed):
    weights = torch.randn(5, 7, 3)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(forms(weights, 7, Noise("amplitude-damping", 0.02, "gate")))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


# --- the record --------------------------------------------------------------------------------------------------------------------------------


def test_parameters_make_it_again(seed):
    for kind, where in itertools.product([*KINDS, "global-depolarising"], PLACES):
        noise = drawn(kind, where)
        again = Noise(**json.loads(json.dumps(noise.parameters)))
        assert again == noise
        assert hash(again) == hash(noise)
    assert Noise("bit-flip", 1).parameters == {"kind": "bit-flip", "rate": 1.0, "where": "layer"}
    assert Noise("kraus", kraus=np.eye(2)[None]) == Noise("kraus", kraus=[[[1, [0, 0]], [0.0, 1 + 0j]]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "thermal", "rate": 0.1}, ValueError, "noise: kind must be one of depolarising, .*kraus, got 'thermal'"),
        ({"kind": "bit-flip", "rate": 0.1, "where": "start"}, ValueError, "noise: where must be one of end, layer, gate, got 'start'"),
        ({"kind": "bit-flip", "rate": 1.5}, ValueError, "noise: rate must be from 0 to 1, got 1.5; it is a probability"),
        ({"kind": "bit-flip", "rate": -1e-9}, ValueError, "noise: rate must be from 0 to 1, got -1e-09"),
        ({"kind": "bit-flip", "rate": math.nan}, ValueError, "noise: rate must be from 0 to 1, got nan"),
        ({"kind": "bit-flip"}, TypeError, "noise: rate must be a number from 0 to 1, got None"),
        ({"kind": "bit-flip", "rate": True}, TypeError, "noise: rate must be a number from 0 to 1, got True"),
        ({"kind": "bit-flip", "rate": "0.1"}, TypeError, "noise: rate must be a number from 0 to 1, got '0.1'"),
        ({"kind": "bit-flip", "rate": 0.1, "kraus": [[[1, 0], [0, 1]]]}, ValueError, "noise: kraus needs kind 'kraus', got kind 'bit-flip'"),
        ({"kind": "kraus"}, ValueError, "noise: kind 'kraus' needs kraus, a list of 2x2 matrices"),
        ({"kind": "kraus", "rate": 0.1, "kraus": [[[1, 0], [0, 1]]]}, ValueError, "noise: rate belongs to the named kinds, got 0.1"),
        ({"kind": "kraus", "kraus": [[[1, 0], [0, 0.9]]]}, ValueError, "the sum of K.dagger K over kraus must be the identity, it is off by 0.19; "),
        ({"kind": "kraus", "kraus": [[[0.6, 0.8], [0, 0]]]}, ValueError, "must be the identity, it is off by 0.64; scale or complete the operators"),
        ({"kind": "kraus", "kraus": [[[1, 0], [0, math.inf]]]}, ValueError, "noise: kraus must be finite, got "),
        ({"kind": "kraus", "kraus": []}, ValueError, r"noise: kraus must be a list of one or more 2x2 matrices, got \[\]"),
        ({"kind": "kraus", "kraus": [[[1, 0]]]}, ValueError, "noise: kraus must be a list of one or more 2x2 matrices, got "),
        ({"kind": "kraus", "kraus": [[1, 0], [0, 1]]}, TypeError, r"must be a list of 2x2 matrices of numbers or \(real, imaginary\) pairs, got "),
        (
            {"kind": "kraus", "kraus": [[["1", 0], [0, 1]]]},
            TypeError,
            r"must be a list of 2x2 matrices of numbers or \(real, imaginary\) pairs, got ",
        ),
        ({"kind": "kraus", "kraus": 3}, TypeError, r"must be a list of 2x2 matrices of numbers or \(real, imaginary\) pairs, got 3"),
    ],
)
def test_bad_noise_is_refused(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        Noise(**arguments)
    assert "\n" not in str(caught.value)


def test_bad_arguments_are_refused():
    noise, weights = Noise("bit-flip", 0.1), torch.zeros(2, 3, 3)
    for arguments, error, message in (
        ((weights, 2, "bit-flip"), TypeError, "noise must be a qarmor.circuits.noise.Noise, got str; a table is read by"),
        ((weights[0], 2, noise), ValueError, r"weights must be a tensor \(layers, qubits, 3\), got \(3, 3\)"),
        ((weights, 4, noise), ValueError, "readouts must be a whole number from 1 to the number of qubits, 3, got 4"),
        ((weights, 2, noise, torch.tensor([0, 8])), ValueError, r"positions must be different amplitudes \(d,\) from 0 to 7, got "),
        ((weights, 2, noise, torch.tensor([1, 1])), ValueError, "positions must be different amplitudes"),
    ):
        with pytest.raises(error, match=message):
            forms(*arguments)
