"""The frozen circuit against the reference: expectations, input gradients, quadratic forms."""

import pytest
import torch

from qarmor.circuits import dense, expectations


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("qubits", "layers"), [(1, 2), (3, 4), (6, 3), (8, 10)])
@pytest.mark.parametrize("implementation", ["auto", "kron"])
def test_agrees_with_the_reference(dtype, tolerance, qubits, layers, implementation, seed):
    weights = torch.randn(layers, qubits, 3, dtype=dtype) * 5
    positions = torch.randperm(1 << qubits)[: max(1, (1 << qubits) - 3)].sort().values
    m = dense.matrix(weights, positions, implementation=implementation)
    s = dense.signs(qubits, qubits, dtype=dtype, device=weights.device)
    x = torch.randn(5, len(positions), dtype=dtype)
    x = (x / x.norm(dim=1, keepdim=True)).requires_grad_()
    states = torch.zeros(5, 1 << qubits, dtype=torch.float64)
    states[:, positions] = x.detach().double()
    states.requires_grad_()
    wanted = expectations(states, weights.double(), implementation="reference")
    out = dense.expectations(x, m, s)
    assert out.dtype == dtype
    assert (out - wanted).abs().max() < tolerance
    cotangent = torch.randn(5, qubits, dtype=dtype)
    (out * cotangent).sum().backward()
    (wanted * cotangent).sum().backward()
    assert (x.grad - states.grad[:, positions]).abs().max() < tolerance
    forms = dense.forms(m, qubits)
    assert (torch.einsum("bi,kij,bj->bk", x, forms, x) - wanted).abs().max() < tolerance
    assert (forms - forms.transpose(1, 2)).abs().max() < tolerance
