"""What every attack promises, in one final method; a subclass only looks for perturbations."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from qarmor.attacks import checks
from qarmor.attacks.journal import NO_JOURNAL, Journal, Progress, mark_of
from qarmor.attacks.losses import Loss
from qarmor.attacks.streams import Streams

DETACHED = "the logits do not depend on the images (detached graph?): this attack needs a gradient to follow"


def per_image(values: Tensor, x: Tensor) -> Tensor:
    """``values`` ``(B,)`` as ``(B, 1, ...)``, to go with images ``x`` ``(B, ...)``."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


@final
@dataclass(frozen=True, eq=False)
class Ball:
    """The images that an attacker may return: within eps of ``x`` in l_inf, and within [0, 1], in exact arithmetic.

    Attributes:
        low, high: bounds, shaped and typed as the images, rounded inwards.
        eps: ``(B, 1, ...)``, in the images' dtype, at most 1, for lengths of steps; only the bounds are exact.
    """

    low: Tensor
    high: Tensor
    eps: Tensor

    @classmethod
    def around(cls, x: Tensor, eps: Tensor) -> Ball:
        """The ball around images ``(B, ...)`` in [0, 1]; ``eps`` is float64 ``(B,)`` on the CPU."""
        low, high = checks.bounds(x, eps)
        radius = eps.clamp(max=1).to(x.dtype).to(x.device)
        return cls(low, high, per_image(radius, x))

    def project(self, x: Tensor) -> Tensor:
        """The nearest images in the ball. NaN stays NaN."""
        return x.clamp(self.low, self.high)

    def subset(self, which: Tensor) -> Ball:
        """The balls of some of the images: ``which`` is bool ``(B,)`` or int64 positions."""
        return Ball(self.low[which], self.high[which], self.eps[which])


@final
class Oracle:
    """The attacked model with the labels of a batch: losses, verdicts and gradients, with the checks that any model needs.

    The model is handed a copy of the images, so layers that work in place do no harm.
    """

    def __init__(self, model: nn.Module, y: Tensor, top_label: int, journal: Journal = NO_JOURNAL) -> None:
        """``y`` is int64 ``(B,)``; ``top_label`` the largest label of the whole call, known on the host."""
        self.y, self.journal = y, journal
        self._model, self._top_label = model, top_label
        self._positions: Tensor | None = None  # in the batch, of a subset
        self._bad_logits = torch.zeros_like(y, dtype=torch.bool)
        self._bad_gradients = torch.zeros_like(self._bad_logits)
        self._classes = 0

    @property
    def classes(self) -> int:
        """K, once the model has been asked for logits. Raises RuntimeError before."""
        if not self._classes:
            raise RuntimeError("the number of classes is not known before the model has been asked for logits")
        return self._classes

    def subset(self, which: Tensor) -> Oracle:
        """The oracle of some of the images: ``which`` is bool ``(B,)`` or int64 positions. What it finds unsound, it reports here."""
        part = copy.copy(self)
        whole = torch.arange(len(self.y), device=self.y.device) if self._positions is None else self._positions
        part.y, part._positions = self.y[which], whole[which]
        return part

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)``, at least float32, of images ``(B, ...)``; with a graph where ``x`` requires one.

        Raises:
            TypeError, ValueError: the model returned something else, or too few classes for the labels.
        """
        logits = checks.logits_of(self._model, x, "the model")
        if self._top_label >= logits.shape[1]:
            raise ValueError(f"y holds label {self._top_label}, but the model has only {logits.shape[1]} classes, counted from 0")
        self._classes = logits.shape[1]
        self._note(self._bad_logits, ~logits.detach().isfinite().all(dim=1))
        return logits

    def _note(self, where: Tensor, bad: Tensor) -> None:
        if self._positions is None:
            where |= bad
        else:
            where[self._positions] |= bad

    def judge(self, x: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """The loss ``(B,)`` and whether the model is wrong ``(B,)``, by argmax as in scoring."""
        with torch.no_grad():
            logits = self.logits(x)
            return loss(logits, self.y), logits.argmax(dim=1) != self.y

    def judge_with_gradient(self, x: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
        """As ``judge``, and the gradient of each image's loss, shaped as ``x``.

        Raises:
            ValueError: the logits do not depend on the images.
        """
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(x)
            # Summed, not averaged: an image's gradient must not depend on its batch.
            value = loss(logits, self.y)
            grad = torch.autograd.grad(value.sum(), x, allow_unused=True)[0] if value.requires_grad else None
        if grad is None:
            raise ValueError(DETACHED)
        self._note_gradient(grad)
        return value.detach(), logits.detach().argmax(dim=1) != self.y, grad

    def jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, K)`` and the gradients of each of them, ``(K, *x.shape)``: K passes back over one forward.

        Raises:
            ValueError: the logits do not depend on the images.
        """
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(x)
            if not logits.requires_grad:
                raise ValueError(DETACHED)
            grads = []
            for k in range(self.classes):
                grad = torch.autograd.grad(logits[:, k].sum(), x, retain_graph=k + 1 < self.classes, allow_unused=True)[0]
                if grad is None:
                    raise ValueError(DETACHED)
                self._note_gradient(grad)
                grads.append(grad)
        return logits.detach(), torch.stack(grads)

    def _note_gradient(self, grad: Tensor) -> None:
        # a sum is finite where every element is: one pass, where isfinite and all take two
        self._note(self._bad_gradients, ~grad.flatten(1).sum(1, dtype=torch.float64).isfinite())

    def close(self, first: int) -> None:
        """Raises ValueError if any logit or gradient was not finite; asked once a batch, since asking waits for the device.

        ``first`` is the position of the batch in the call.
        """
        for what, bad in (("logits are", self._bad_logits), ("gradient for the images is", self._bad_gradients)):
            if bad.any():
                which = bad.nonzero().flatten()
                raise ValueError(
                    f"the model's {what} not finite (NaN or infinite) for {len(which)} images, the first at position {first + int(which[0])}"
                )


@final
class Best:
    """The best image seen so far, for every image of a batch: misclassified before correct, then highest loss, then the earliest.

    Attributes:
        x: those images, ``(B, ...)``.
        loss: float ``(B,)``, their losses.
        wrong: bool ``(B,)``, whether the model is wrong on them.
    """

    def __init__(self, x: Tensor) -> None:
        """Starts from the clean images ``x``, not judged yet: any candidate beats them, so judge them, too."""
        self.x = x
        self.loss = torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        self.wrong = torch.zeros_like(self.loss, dtype=torch.bool)

    def update(self, x: Tensor, loss: Tensor, wrong: Tensor) -> None:
        """Take those of ``x`` that are better than what is kept."""
        better = (wrong & ~self.wrong) | ((wrong == self.wrong) & (loss > self.loss))
        self.x = torch.where(per_image(better, x), x, self.x)
        self.loss = torch.where(better, loss, self.loss)
        self.wrong = self.wrong | wrong

    def subset(self, which: Tensor) -> Best:
        """What is kept of some of the images: ``which`` is bool ``(B,)`` or int64 positions."""
        part = Best(self.x[which])
        part.loss, part.wrong = self.loss[which], self.wrong[which]
        return part

    def put(self, which: Tensor, x: Tensor, loss: Tensor, wrong: Tensor) -> None:
        """``update`` for some of the images only."""
        part = self.subset(which)
        part.update(x, loss, wrong)
        self.x, self.loss, self.wrong = self.x.clone(), self.loss.clone(), self.wrong.clone()
        self.x[which], self.loss[which], self.wrong[which] = part.x, part.loss, part.wrong


@dataclass(frozen=True, kw_only=True, repr=False)
class BaseAttack(ABC):
    """An attack within an l_inf ball. A subclass writes ``_perturb``; ``__call__`` checks what goes in and what comes out.

    A subclass is a frozen dataclass (``kw_only=True, repr=False``) whose fields are its hyperparameters, with JSON values, and has a ``name``.
    ``needs_gradient`` is False for one that only asks for logits.
    Attacks are equal, and hash equal, if class and fields are.

    Attributes:
        batch_size: images per call of the model, at least 1.
    """

    name: ClassVar[str]
    needs_gradient: ClassVar[bool] = True

    batch_size: int = 256

    def __post_init__(self) -> None:
        checks.check_count("batch_size", self.batch_size)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__call__ is not BaseAttack.__call__:
            raise TypeError(f"{cls.__name__} must not override __call__, which keeps every attack's promises: write _perturb")

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments but for ``batch_size``."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "batch_size"}

    @property
    def parameters(self) -> dict[str, Any]:
        """Hyperparameters by name, as written into a row. ``batch_size`` is not among them: it changes a result by rounding only."""
        return self.options

    def for_classes(self, classes: int) -> BaseAttack:
        """The attack that runs on a model of ``classes`` classes: itself, but for one that depends on their number."""
        return self

    def __repr__(self) -> str:
        options = {**self.options, "batch_size": self.batch_size}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in options.items())})"

    @abstractmethod
    def _perturb(self, oracle: Oracle, x: Tensor, ball: Ball, streams: Streams) -> Tensor:
        """The best image seen, by ``Best``, for each of ``x`` ``(B, ...)``: shaped as ``x``."""

    @final
    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        eps: float | Tensor,
        *,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Tensor:
        """Adversarial images.

        For every image this is the best one seen, the clean image included: misclassified before correct, then highest loss; also where
        the model was wrong already or still resists, since attacks are transferred.

        Random numbers belong to an image by ``seed`` and its position in this call, so another batch size changes the result by rounding only
        (a slice of the images is another call, with positions from 0). torch's global generators are seeded with ``seed`` meanwhile, so that a
        model which draws from them gives the same result again, and restored afterwards.

        Args:
            model: maps ``(B, ...)`` in [0, 1] to logits ``(B, K)``, K at least 2. Attacked as handed over, in eval mode, and left as it was.
            x: float32 or float64 ``(N, C, H, W)`` or ``(N, d)``, values in [0, 1]. The attack computes in this dtype.
            y: int64 ``(N,)``, true labels, on the device of ``x``.
            eps: l_inf radius in units of the pixel range, at least 0: a number, or a tensor with one per image ``(N,)``.
            seed: of the attack's random numbers, in [0, 2**63).
            checkpoint: folder where the images of each finished batch are kept, of a suite after each of its attacks; a killed call that is made
                again goes on from there. It stays when done.
            on_progress: called at the start of each batch, of a suite at each of its attacks.

        Returns:
            Shaped, typed and placed as ``x``, without a graph, within eps of it and within [0, 1] with no tolerance at all.

        Raises:
            TypeError, ValueError: a bad argument; a model that returns no finite logits ``(B, K)`` or no finite gradients; an attack that
                returns NaN or another shape.
        """
        checks.check_model(model)
        x = checks.check_images(x)
        y = checks.check_labels(y, x)
        radii = checks.check_eps(eps, len(x))
        seed = checks.check_seed(seed)
        if not len(x):
            return x.clone()
        top_label = int(y.max())
        mark = "" if checkpoint is None else mark_of(self.name, self.parameters, model, {"x": x, "y": y, "eps": radii}, seed, self.batch_size)
        folder = None if checkpoint is None else Path(checkpoint)
        with undisturbed(model, x.device, seed):
            results = []
            for first in range(0, len(x), self.batch_size):
                part = slice(first, first + self.batch_size)
                journal = Journal(folder, on_progress, mark, len(x), first, len(y[part]))
                # Clones: tensors of the caller's inference mode cannot be differentiated, and an attack may work in place.
                oracle = Oracle(model, y[part].clone(), top_label, journal)
                results.append(self._attack_batch(oracle, x[part].clone(), radii[part], seed, first))
            return torch.cat(results)

    def _attack_batch(self, oracle: Oracle, x: Tensor, eps: Tensor, seed: int, first: int) -> Tensor:
        """The promises for one batch, whose first image is at position ``first`` of the call."""
        ball = Ball.around(x, eps)
        if not eps.any():  # the ball is the image: only see that the model is sound
            with torch.no_grad():
                oracle.logits(x)
            oracle.close(first)
            return x
        if (kept := oracle.journal.read("done")) is not None:
            return kept["x"].to(x)
        oracle.journal.tell(self.name, len(x), 0.0)
        found = self._perturb(oracle, x, ball, Streams(seed, torch.arange(first, first + len(x))))
        oracle.close(first)
        if not isinstance(found, Tensor) or found.shape != x.shape:
            raise ValueError(f"attack {self.name!r} must return images of shape {tuple(x.shape)}, it returned {checks.described(found)}")
        found = found.detach().to(x)
        if found.isnan().any():
            raise ValueError(f"attack {self.name!r} returned NaN: its _perturb has a defect")
        found = ball.project(found)
        oracle.journal.keep("done", {"x": found})
        return found


@contextmanager
def undisturbed(model: nn.Module, device: torch.device, seed: int) -> Iterator[None]:
    """Eval mode, recording allowed and seeded generators inside; every submodule's mode and the global generators as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    devices = {device, *(parameter.device for parameter in model.parameters())}
    cuda = sorted(d.index for d in devices if d.type == "cuda")
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
        try:
            model.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training
