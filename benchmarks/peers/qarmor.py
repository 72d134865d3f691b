"""QArmor: the compiled kernel; the attack step on the frozen model, one dense matrix, as its attacks run."""

import numpy as np
import torch
from numpy.typing import NDArray

from peers import qarmor_unfrozen
from peers._contract import Problem, Steps
from qarmor.models import QVC


def build(problem: Problem) -> Steps:
    """The three steps on one problem."""
    unfrozen = qarmor_unfrozen.build(problem)
    if problem.readouts < 2:
        return Steps(unfrozen.forward, unfrozen.train, unable={"attack": "a classifier has two readouts or more"})
    model = QVC(problem.qubits, problem.layers, problem.readouts, logit_scale=1.0, learn_scale=False)
    with torch.no_grad():
        model.weights.copy_(torch.from_numpy(problem.weights))
    frozen = model.freeze()
    cotangents, pixels = torch.from_numpy(problem.cotangents), torch.from_numpy(problem.states).requires_grad_()

    def attack() -> NDArray[np.floating]:
        return torch.autograd.grad((frozen(pixels) * cotangents).sum(), pixels)[0].numpy()

    return Steps(unfrozen.forward, unfrozen.train, attack)
