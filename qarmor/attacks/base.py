"""What every attack promises, in one final method; a subclass only looks for perturbations."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from qarmor.attacks.losses import LOSSES


@dataclass(frozen=True, eq=False)
class Ball:
    """The images that an attacker may return: within eps of ``x`` in l_inf, and within [0, 1].

    Bounds are rounded inwards, so that in exact arithmetic, too, no pixel moves by more than eps.

    Attributes:
        low, high: bounds, shaped as the images.
        eps: ``(B, 1, ...)``, in the images' dtype.
    """

    low: Tensor
    high: Tensor
    eps: Tensor

    @classmethod
    def around(cls, x: Tensor, eps: Tensor) -> "Ball":
        """The ball around images ``(B, ...)``; ``eps`` is float64 ``(B,)``."""
        radius = eps.reshape(-1, *[1] * (x.ndim - 1))
        centre = x.cpu().double()
        low, high = (_rounded_inwards(centre + sign * radius, centre, radius, x.dtype) for sign in (-1.0, 1.0))
        return cls(low.to(x.device), high.to(x.device), radius.to(x.dtype).to(x.device))

    def project(self, x: Tensor) -> Tensor:
        """The nearest images in the ball."""
        return x.clamp(self.low, self.high)


def _rounded_inwards(bound: Tensor, centre: Tensor, radius: Tensor, dtype: torch.dtype) -> Tensor:
    result = bound.clamp(0, 1).to(dtype)
    towards = centre.to(dtype)
    outside = (result.double() - centre).abs() > radius
    return torch.where(outside, torch.nextafter(result, towards), result)


class Streams:
    """One stream of random numbers an image, seeded by the attack's seed and the image's position in the call."""

    def __init__(self, seed: int, first: int, count: int) -> None:
        self._generators = [torch.Generator().manual_seed((seed * 1_000_003 + first + i) % (1 << 63)) for i in range(count)]

    def uniform(self, like: Tensor) -> Tensor:
        """Independent numbers in [0, 1), shaped as ``like`` and on its device."""
        drawn = [torch.rand(like.shape[1:], generator=g, dtype=torch.float64) for g in self._generators]
        return torch.stack(drawn).to(like.dtype).to(like.device)


class Oracle:
    """The attacked model with the labels of a batch: losses, verdicts and gradients, with the checks that any model needs."""

    def __init__(self, model: nn.Module, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._model, self._y, self._loss = model, y, loss
        self._finite = torch.ones((), dtype=torch.bool, device=y.device)
        self._finite_gradients = torch.ones((), dtype=torch.bool, device=y.device)

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Loss ``(B,)`` and whether the image is misclassified ``(B,)``."""
        with torch.no_grad():
            return self._judge(x)

    def judge_with_gradient(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``judge``, and the gradient of each image's loss for that image."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            loss, wrong = self._judge(x)
            grad = torch.autograd.grad(loss.sum(), x, allow_unused=True)[0] if loss.requires_grad else None
        if grad is None:
            raise ValueError("the model's logits do not depend on the images (a detached graph?): there is no gradient to follow")
        self._finite_gradients &= grad.isfinite().all()
        return loss.detach(), wrong, grad

    def _judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._model(x)
        _check_logits(logits, len(x))
        self._finite &= logits.isfinite().all()
        return self._loss(logits, self._y), logits.detach().argmax(1) != self._y

    def close(self) -> None:
        """Raises ValueError if any logit or gradient was not finite; asked once a batch, since asking waits for the device."""
        if not self._finite:
            raise ValueError("the model returned logits that are not finite (NaN or infinity)")
        if not self._finite_gradients:
            raise ValueError("the model's gradient for the images is not finite (NaN or infinity)")


class Best:
    """The best image seen so far, for every image of a batch: misclassified before correct, then by highest loss, then the earliest."""

    def __init__(self, x: Tensor, loss: Tensor, wrong: Tensor) -> None:
        self.x, self._loss, self._wrong = x.clone(), loss.clone(), wrong.clone()

    def update(self, x: Tensor, loss: Tensor, wrong: Tensor) -> None:
        """Take the images ``x`` that are better than what is kept."""
        better = (wrong & ~self._wrong) | ((wrong == self._wrong) & (loss > self._loss))
        self.x = torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, self.x)
        self._loss = torch.where(better, loss, self._loss)
        self._wrong = self._wrong | wrong


def check_count(what: str, value: int) -> int:
    """``value`` if it is a whole number, 1 or more. Raises ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what} must be a whole number, 1 or more, got {value!r}")
    return value


class BaseAttack(ABC):
    """An attack within an l_inf ball. A subclass writes ``_perturb``; ``__call__`` checks what goes in and what comes out.

    Hyperparameters are arguments of the constructor, and attributes of the same names.
    """

    name: ClassVar[str]

    def __init__(self, *, loss: str = "ce", batch_size: int = 256) -> None:
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        self.loss = loss
        self.batch_size = check_count("batch_size", batch_size)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__call__" in cls.__dict__:
            raise TypeError(f"{cls.__name__} must not override __call__, which keeps every attack's promises: write _perturb")

    @property
    def parameters(self) -> dict[str, Any]:
        """Hyperparameters by name. The batch size is not among them: it changes a result by rounding only."""
        names = inspect.signature(type(self).__init__).parameters
        return {name: getattr(self, name) for name in names if name not in ("self", "batch_size")}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.parameters.items())})"

    @abstractmethod
    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        """The best image seen for each of ``x``, ``(B, ...)``, by ``Best``."""

    @final
    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, eps: float | Tensor, *, seed: int = 0) -> Tensor:
        """Adversarial images.

        For every image this is the best one seen, the clean image included: misclassified before correct, then highest loss; also where
        the model was wrong already or still resists, since attacks are transferred.

        Args:
            model: maps ``(B, ...)`` in [0, 1] to logits ``(B, K)``. It is used in eval mode and left as it was.
            x: float32 or float64 ``(N, C, H, W)`` or ``(N, d)``, values in [0, 1].
            y: int64 ``(N,)``, true labels.
            eps: l_inf radius, a number or one an image ``(N,)``, in units of the pixel range.
            seed: of the attack's random numbers.

        Returns:
            As ``x``, within eps of it and within [0, 1] without any tolerance.

        Raises:
            TypeError, ValueError: bad arguments, or a model that returns no proper logits or gradients.
        """
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        _check_images(x, y)
        radii = _radii(eps, len(x))
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be a whole number, 0 or more, got {seed!r}")
        x = x.detach()
        results = [x[:0]]
        with _undisturbed(model, x.device):
            for start in range(0, len(x), self.batch_size):
                part = slice(start, start + self.batch_size)
                results.append(self._attack_batch(model, x[part], y[part], radii[part], Streams(seed, start, len(x[part]))))
        return torch.cat(results)

    def _attack_batch(self, model: nn.Module, x: Tensor, y: Tensor, eps: Tensor, streams: Streams) -> Tensor:
        _check_labels(model, x[:1], y)
        ball = Ball.around(x, eps)
        oracle = Oracle(model, y, LOSSES[self.loss])
        found = self._perturb(oracle, x, ball, streams).detach()
        oracle.close()
        if found.shape != x.shape:
            raise ValueError(f"attack {self.name!r} returned shape {tuple(found.shape)} for images of shape {tuple(x.shape)}")
        found = ball.project(found.to(x.dtype))
        if found.isnan().any():
            raise ValueError(f"attack {self.name!r} returned NaN")
        return found


def _check_images(x: Tensor, y: Tensor) -> None:
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64) or x.ndim < 2:
        raise TypeError(f"x must be a float32 or float64 tensor (N, ...), got {_described(x)}")
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.shape != x.shape[:1]:
        raise TypeError(f"y must be an int64 tensor ({len(x)},), one label an image, got {_described(y)}")
    if x.device != y.device:
        raise ValueError(f"x is on {x.device} and y on {y.device}: move them to one device")
    if not len(x):
        return
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"x must have values in [0, 1], got values from {low:g} to {high:g}: normalisation belongs inside the model")


def _described(value: object) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _radii(eps: float | Tensor, n: int) -> Tensor:
    """eps as float64 ``(n,)`` on the CPU."""
    if isinstance(eps, Tensor) and eps.ndim:
        radii = eps.detach().double().cpu()
        if radii.shape != (n,):
            raise ValueError(f"eps must be a number or one an image, ({n},), got shape {tuple(eps.shape)}")
    elif isinstance(eps, bool) or not isinstance(eps, int | float | Tensor):
        raise TypeError(f"eps must be a number or a tensor of one an image, got {type(eps).__name__}")
    else:
        radii = torch.full((n,), float(eps), dtype=torch.float64)
    bad = radii[~(radii.isfinite() & (radii >= 0))]
    if len(bad) or (not n and not math.isfinite(float(eps))):
        raise ValueError(f"eps must be finite and not negative, got {float(bad[0]) if len(bad) else eps}")
    return radii


def _check_logits(logits: object, batch: int) -> None:
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise ValueError(f"the model must return a float tensor of logits, it returned {_described(logits)}")
    if logits.ndim != 2 or len(logits) != batch or logits.shape[1] < 2:
        raise ValueError(f"the model must return logits ({batch}, K) with K at least 2 for {batch} images, it returned shape {tuple(logits.shape)}")


def _check_labels(model: nn.Module, one: Tensor, y: Tensor) -> None:
    with torch.no_grad():
        logits = model(one)
    _check_logits(logits, len(one))
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(f"labels y run from {low} to {high}, but the model has {logits.shape[1]} logits")


@contextmanager
def _undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode inside; every submodule's mode and the global random state as before afterwards, whatever happens."""
    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
