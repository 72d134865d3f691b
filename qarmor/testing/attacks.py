"""Whether an attack from elsewhere keeps its promises, on small models that are built here."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qarmor.attacks.findings import Check, CheckError, Finding, table
from qarmor.testing.common import changes, said
from qarmor.types import Attack

TOLERANCE = 1e-6
"""What an attack may exceed the ball and the box by, as ``craft``: float32 rounding of ``x + eps`` is below 1e-7."""

ATTACK_CHECKS: Mapping[str, Check] = table(
    (
        Check(
            "attack-parameters",
            "Name and parameters",
            "error",
            "An attack's name and parameters are written into rows, as a string and JSON values.",
            "give it a non-empty name, and numbers, strings, booleans, lists or None as parameters",
        ),
        Check(
            "attack-call",
            "Cannot be called",
            "error",
            "The attack raises an error that is no refusal, or refuses everything.",
            "raise ValueError with one clear line for models that the attack cannot work on, and nothing else",
        ),
        Check(
            "attack-result",
            "Other tensors than asked for",
            "error",
            "An attack must return finite images of the shape, dtype and device of those it was handed, without a graph.",
            "return the best image seen, detached",
        ),
        Check(
            "attack-ball",
            "Leaves the ball",
            "error",
            "An adversarial image differs from its clean one by more than its eps in some pixel, so its success counts for nothing.",
            "clamp to [x - eps, x + eps], with eps of shape (N, 1, ...) where there is one per image",
        ),
        Check(
            "attack-box",
            "Leaves the box",
            "error",
            "An adversarial image has a pixel outside [0, 1], so it is no image.",
            "clamp to [0, 1]",
        ),
        Check(
            "attack-inputs",
            "Changes its arguments",
            "error",
            "The attack wrote into the images, labels or radii that it was handed.",
            "work on clones",
        ),
        Check(
            "attack-model",
            "Changes the model",
            "error",
            "The attack left the model in another mode, with other parameters or buffers, or with gradients that it had not before.",
            "call eval() and restore each submodule's mode, and take gradients for the images only, by torch.autograd.grad",
        ),
        Check(
            "attack-generator",
            "Disturbs the global generator",
            "error",
            "The attack moves torch's global random generator, so what is drawn after it depends on it.",
            "draw from a torch.Generator of your own, or use torch.random.fork_rng",
        ),
        Check(
            "attack-repeat",
            "Not repeatable",
            "error",
            "Two calls with the same seed return different images, so a result cannot be made again.",
            "draw every random number from a generator seeded with seed",
        ),
        Check(
            "attack-batches",
            "Depends on batch_size",
            "error",
            "Another batch_size gives other images than rounding explains.",
            "draw random numbers image by image, and sum losses over a batch instead of averaging",
        ),
        Check(
            "attack-accuracy",
            "Accuracy rises",
            "error",
            "The model gets more of the attacked images right than of the clean ones.",
            "keep the clean image as a candidate, and return the best image seen",
        ),
        Check(
            "attack-refused",
            "Refuses some models",
            "warning",
            "The attack refuses models of this kind with ValueError, so it was not tried on them.",
            "see that the message is what your users need",
        ),
        Check(
            "attack-weak",
            "Without effect",
            "warning",
            "With half of the pixel range to move in, the attack takes no right answer away from a small smooth model.",
            "check the sign of its steps, and that eps reaches it",
        ),
    )
)
"""The checks that ``check_attack`` makes, by code."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Case:
    """A small smooth model with images and labels, most of which it gets right."""

    shape: tuple[int, ...]
    classes: int
    model: nn.Module
    x: Tensor
    y: Tensor

    def __str__(self) -> str:
        return f"{self.classes} classes and images of shape {self.shape}"


def _case(shape: tuple[int, ...], classes: int, dtype: torch.dtype = torch.float32) -> _Case:
    n, pixels = 12, torch.Size(shape).numel()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 24), nn.BatchNorm1d(24), nn.Tanh(), nn.Dropout(0.5), nn.Linear(24, classes))
        x = torch.rand(n, *shape, dtype=torch.float64)
    x.view(-1)[:5] = torch.tensor([0.0, 1.0, 1e-30, 0.5, 1 - 2**-24], dtype=torch.float64)
    model, x = model.to(dtype).eval(), x.to(dtype)
    with torch.no_grad():
        y = model(x).argmax(1)
    y[0] = (y[0] + 1) % classes  # one that is wrong already
    return _Case(shape, classes, model, x, y)


def check_attack(attack: Attack) -> tuple[Finding, ...]:
    """Whether ``attack`` keeps the promises of ``types.Attack``, on small smooth models of 2 and 10 classes and images ``(d,)`` and ``(C, H, W)``.

    Tried are: name and parameters; shape, dtype and finiteness of what it returns; the ball and the box, image by image, for a radius, for one a
    thousandth of the pixel range, for none and for one per image; that it leaves its arguments, the model and torch's generator alone; that the same
    seed gives the same images; another ``batch_size``, if it is a dataclass with such a field; and that accuracy does not rise.

    An attack may refuse some of the models by ValueError, which is a warning then, but not all.

    Args:
        attack: an instance.

    Returns:
        The warnings.

    Raises:
        TypeError: no instance of an attack.
        CheckError: the first check of ``ATTACK_CHECKS`` that failed. A ValueError.
    """
    if isinstance(attack, type) or not isinstance(attack, Attack):
        got = f"the class {attack.__name__}" if isinstance(attack, type) else f"a {type(attack).__name__}"
        raise TypeError(f"attack must be an instance with a name, parameters and __call__ (qarmor.types.Attack), got {got}")
    blame = f"attack {attack.name!r}"
    if not isinstance(attack.name, str) or not attack.name:
        raise _failed(blame, "attack-parameters", f"its name is {attack.name!r}")
    parameters = dict(attack.parameters)
    try:
        kept = json.loads(json.dumps(parameters, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise _failed(blame, "attack-parameters", f"its parameters are no JSON values: {error}") from error
    if kept != parameters:
        raise _failed(blame, "attack-parameters", f"its parameters {parameters!r} are others when they have been written and read")
    found: list[Finding] = []
    cases = [_case(shape, classes) for shape in ((16,), (1, 4, 4)) for classes in (2, 10)]
    for case in cases:
        try:
            found += _try(attack, case, blame)
        except _Refused as refused:
            found.append(Finding(ATTACK_CHECKS["attack-refused"], f"{case}: {refused}"))
    refusals = [finding for finding in found if finding.check.code == "attack-refused"]
    if len(refusals) == len(cases):
        raise _failed(blame, "attack-call", f"it refuses every model, the last so: {refusals[-1].detail}")
    return tuple(found)


class _Refused(Exception):
    """The attack does not work on this model, and says so by ValueError."""


def _try(attack: Attack, case: _Case, blame: str) -> list[Finding]:
    n = len(case.x)
    first = _called(attack, case, 0.1, blame)
    for radius in (0.0, 1e-3, torch.linspace(0, 0.2, n)):
        _called(attack, case, radius, blame)
    _check_repeats(attack, case, first, blame)
    if dataclasses.is_dataclass(attack) and any(field.name == "batch_size" for field in dataclasses.fields(attack)):
        _check_batches(attack, case, blame)
    before = _right(case, case.x)
    for eps, found in ((0.1, first), (0.5, _called(attack, case, 0.5, blame))):
        under = _right(case, found)
        counts = f"{before} of {n} images are named rightly when clean and {under} under eps {eps}, on {case}"
        if under > before:
            raise _failed(blame, "attack-accuracy", counts)
    return [Finding(ATTACK_CHECKS["attack-weak"], counts)] if under == before else []


def _right(case: _Case, x: Tensor) -> int:
    with torch.no_grad():
        return int((case.model(x).argmax(1) == case.y).sum())


def _called(attack: Attack, case: _Case, eps: float | Tensor, blame: str) -> Tensor:
    """What the attack makes of a case, if it is in order and everything else is as before."""
    model = copy.deepcopy(case.model).train()
    model[2].eval()  # type: ignore[index]  # a frozen batch normalisation in a model that trains
    modes, state = [part.training for part in model.modules()], copy.deepcopy(model.state_dict())
    x, y, radii = case.x.clone(), case.y.clone(), eps.clone() if isinstance(eps, Tensor) else eps
    on = f"on {case}, eps {'one per image' if isinstance(eps, Tensor) else f'{eps:g}'}"
    generator, asked = torch.get_rng_state(), []
    model.register_forward_pre_hook(lambda module, args: asked.append(any(part.training for part in module.modules())))
    try:
        returned = attack(model, x, y, radii, seed=1)
    except ValueError as error:
        raise _Refused(said(error)) from error
    except Exception as error:  # whatever a foreign attack may raise
        raise _failed(blame, "attack-call", f"{on}, it raised {said(error)}") from error
    if any(asked):
        raise _failed(blame, "attack-model", f"{on}, it asked the model in training mode")
    moved = not torch.equal(torch.get_rng_state(), generator)
    found = _check_result(returned, case, blame, on)
    _check_bounds(found, case.x, eps, blame, on)
    for what, now, then in (("images", x, case.x), ("labels", y, case.y), ("radii", radii, eps)):
        if isinstance(then, Tensor) and not (isinstance(now, Tensor) and torch.equal(now, then)):
            raise _failed(blame, "attack-inputs", f"{on}, its {what} have changed")
    if [part.training for part in model.modules()] != modes:
        raise _failed(blame, "attack-model", f"{on}, parts of the model are in another mode")
    if changed := changes(model.state_dict(), state):
        raise _failed(blame, "attack-model", f"{on}, {changed} changed")
    if touched := [name for name, parameter in model.named_parameters() if parameter.grad is not None or not parameter.requires_grad]:
        raise _failed(blame, "attack-model", f"{on}, parameter {touched[0]} has a gradient or needs none any more")
    if moved:
        raise _failed(blame, "attack-generator", f"{on}, torch.get_rng_state() has changed")
    return found


def _check_result(returned: object, case: _Case, blame: str, on: str) -> Tensor:
    if not isinstance(returned, Tensor):
        raise _failed(blame, "attack-result", f"{on}, it returned {type(returned).__name__}")
    for what, got, wanted in (
        ("shape", tuple(returned.shape), tuple(case.x.shape)),
        ("dtype", returned.dtype, case.x.dtype),
        ("device", returned.device, case.x.device),
        ("requires_grad", returned.requires_grad, False),
    ):
        if got != wanted:
            raise _failed(blame, "attack-result", f"{on}, it returned {what} {got}, not {wanted}")
    if bad := int((~returned.isfinite().flatten(1).all(1)).sum()):
        raise _failed(blame, "attack-result", f"{on}, {bad} images are NaN or infinite")
    return returned


def _check_bounds(found: Tensor, x: Tensor, eps: float | Tensor, blame: str, on: str) -> None:
    radii = eps.double() if isinstance(eps, Tensor) else torch.full((len(x),), eps, dtype=torch.float64)
    outside = (found.double() - x.double()).flatten(1).abs().amax(1) - radii
    if float(outside.max()) > TOLERANCE:
        worst = int(outside.argmax())
        raise _failed(blame, "attack-ball", f"{on}, image {worst} leaves its ball of radius {float(radii[worst]):g} by {float(outside[worst]):.3g}")
    beyond = torch.maximum(-found.flatten(1).amin(1), found.flatten(1).amax(1) - 1)
    if float(beyond.max()) > TOLERANCE:
        raise _failed(blame, "attack-box", f"{on}, image {int(beyond.argmax())} leaves [0, 1] by {float(beyond.max()):.3g}")


def _check_repeats(attack: Attack, case: _Case, first: Tensor, blame: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)  # what others drew meanwhile must not matter
        again = _called(attack, case, 0.1, blame)
    if not torch.equal(first, again):
        raise _failed(blame, "attack-repeat", f"two calls with seed 1 differ by up to {float((first - again).abs().max()):.2g} on {case}")


def _check_batches(attack: Attack, case: _Case, blame: str) -> None:
    double = _case(case.shape, case.classes, torch.float64)
    whole, parts = (_called(dataclasses.replace(attack, batch_size=size), double, 0.1, blame) for size in (len(double.x), 5))  # type: ignore[type-var]
    if float((whole - parts).abs().max()) > TOLERANCE:
        changed = int(((whole - parts).flatten(1).abs().amax(1) > TOLERANCE).sum())
        raise _failed(blame, "attack-batches", f"with 5 instead of 12 images a batch {changed} images are others, on {case}")


def _failed(blame: str, code: str, detail: str) -> CheckError:
    return CheckError.of(blame, [Finding(ATTACK_CHECKS[code], detail)])
