"""The one training loop: standard and adversarial, quantum and classical."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qarmor.training import checkpoint as checkpoints
from qarmor.training.recipe import Adversarial, Recipe
from qarmor.types import Images

_CURVE_POINTS = 40
_LOOK_EVERY = 10  # steps between looks at the losses: a look waits for the device
_PREDICT_BATCH = 1000


@dataclass
class History:
    """What happened during a training.

    Attributes:
        steps, loss, batch_accuracy: at every few steps, means since the point before, over the training batches (attacked images included).
        accuracy_steps, accuracy: accuracy on the validation images, at about 40 points and at the end; empty without validation images.
        epoch_seconds: wall time of each epoch.
    """

    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    batch_accuracy: list[float] = field(default_factory=list)
    accuracy_steps: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """Where a training stands; ``loss`` and ``accuracy`` are means over the last few batches."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    seconds_left: float


class TrainingError(RuntimeError):
    """A training that cannot go on; the message names the step and the likely cause."""


def fit(
    model: nn.Module,
    train: Images,
    recipe: Recipe,
    *,
    validation: Images | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> History:
    """Train ``model`` in place, on the device it is on, and leave it in eval mode.

    Args:
        model: maps images to logits.
        train: training images.
        recipe: how. Its ``network`` options are for whoever builds the model, and are not looked at here.
        validation: images to watch the accuracy on; they change nothing.
        seed: of the order of the images, and of anything random in the model.
        checkpoint: file that is written after each epoch and from which a killed training goes on, to the same weights. It stays when done.
        on_progress: called every few steps.

    Raises:
        ValueError: no images, labels beyond the logits, or a checkpoint of another training.
        TrainingError: a loss that is not finite.
    """
    _check(model, train)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=recipe.lr)
    history, first_epoch = History(), 0
    path = None if checkpoint is None else Path(checkpoint)
    mark = checkpoints.fingerprint(model, train, recipe, seed) if path else ""
    if path and path.exists():
        first_epoch, kept = checkpoints.read(path, model, optimiser, mark)
        history = History(**kept)
    device = next(iter(parameters)).device
    watched = None if validation is None else validation.to(device)
    loop = _Loop(model, train.to(device), recipe, seed, first_epoch, optimiser, history, watched, on_progress)
    for epoch in range(first_epoch, recipe.epochs):
        loop.run_epoch(epoch)
        if path:
            checkpoints.write(path, model, optimiser, epoch + 1, asdict(history), mark)
    model.eval()
    return history


def _check(model: nn.Module, train: Images) -> None:
    if not len(train):
        raise ValueError("fit: there are no training images")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("fit: the model has no trainable parameters (is it frozen?)")
    was_training = model.training
    with torch.no_grad():
        some = train[:2].to(next(model.parameters()).device)
        logits = model.eval()(some.x)
    model.train(was_training)
    if logits.ndim != 2 or len(logits) != len(some):
        raise ValueError(f"fit: the model must return logits (B, K), it returned {tuple(logits.shape)} for {len(some)} images")
    if train.y.min() < 0 or train.y.max() >= logits.shape[1]:
        raise ValueError(f"fit: labels run from {int(train.y.min())} to {int(train.y.max())}, the model has {logits.shape[1]} logits")


def batches(n: int, size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Positions of the images of each batch of an epoch; a last batch of one is joined to the one before (batch norm needs two)."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    parts = list(torch.split(order, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of ``step`` (from 0) of ``steps``."""
    return recipe.lr if recipe.schedule == "constant" else recipe.lr * 0.5 * (1 + math.cos(math.pi * step / steps))


class _Loop:
    """One training: what stays the same from epoch to epoch."""

    def __init__(
        self,
        model: nn.Module,
        train: Images,
        recipe: Recipe,
        seed: int,
        first_epoch: int,
        optimiser: torch.optim.Optimizer,
        history: History,
        validation: Images | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.model, self.train, self.recipe, self.seed = model, train, recipe, seed
        self.optimiser, self.history, self.validation, self.on_progress = optimiser, history, validation, on_progress
        self.steps_an_epoch = sum(1 for _ in batches(len(train), recipe.batch_size, seed, 0))
        self.steps = self.steps_an_epoch * recipe.epochs
        self.curve_every = max(1, self.steps // _CURVE_POINTS)
        self.started, self.start_step = time.monotonic(), first_epoch * self.steps_an_epoch
        self.pending: list[tuple[int, Tensor, Tensor, int]] = []

    def run_epoch(self, epoch: int) -> None:
        began = time.monotonic()
        step = epoch * self.steps_an_epoch
        devices = [self.train.x.device] if self.train.x.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed * 1_000_003 + epoch)
            for which in batches(len(self.train), self.recipe.batch_size, self.seed, epoch):
                self._step(step, self.train[which.to(self.train.x.device)])
                step += 1
                if step % _LOOK_EVERY == 0 or step == self.steps:
                    self._look(epoch, step)
                if self.validation is not None and (step % self.curve_every == 0 or step == self.steps):
                    self.history.accuracy_steps.append(step)
                    self.history.accuracy.append(self._accuracy(self.validation))
        self._look(epoch, step)
        self.history.epoch_seconds.append(time.monotonic() - began)

    def _step(self, step: int, batch: Images) -> None:
        x, y = batch.x, batch.y
        adversarial = self.recipe.adversarial
        if adversarial is not None:
            attacked = math.ceil(adversarial.fraction * len(y))
            x = torch.cat([self._attacked(step, x[:attacked], y[:attacked], adversarial), x[attacked:]])
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.recipe, step, self.steps)
        logits = self.model(x)
        loss = F.cross_entropy(logits, y)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimiser.step()
        self.pending.append((step, loss.detach(), (logits.detach().argmax(1) == y).sum(), len(y)))

    def _attacked(self, step: int, x: Tensor, y: Tensor, adversarial: Adversarial) -> Tensor:
        """Images attacked on the network as it is. Its weights need no gradient meanwhile, which spares a circuit more than a third of the work."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            return adversarial.attack(self.model, x, y, adversarial.eps, seed=self.seed + step)
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)

    def _look(self, epoch: int, step: int) -> None:
        """Collect what the last steps left on the device; stop at a loss that is not finite."""
        if not self.pending:
            return
        losses = torch.stack([loss for _, loss, _, _ in self.pending]).tolist()
        correct = int(torch.stack([right for _, _, right, _ in self.pending]).sum())
        images = sum(n for *_, n in self.pending)
        for (at, *_), loss in zip(self.pending, losses, strict=True):
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is {loss} at step {at + 1} of {self.steps} (epoch {epoch + 1}): {self._cause(at)}")
        self.pending.clear()
        self.history.steps.append(step)
        self.history.loss.append(sum(losses) / len(losses))
        self.history.batch_accuracy.append(correct / images)
        if self.on_progress is not None:
            left = (time.monotonic() - self.started) / max(1, step - self.start_step) * (self.steps - step)
            self.on_progress(Progress(epoch + 1, self.recipe.epochs, step, self.steps, self.history.loss[-1], correct / images, left))

    def _cause(self, step: int) -> str:
        if not self.train.x.isfinite().all():
            return "some training images hold NaN or infinity"
        if step == 0:
            return "the model's logits are not finite before any training: look at its weights and scale"
        return f"the learning rate, {self.recipe.lr:g}, is probably too high for this network"

    def _accuracy(self, images: Images) -> float:
        self.model.eval()
        with torch.no_grad():
            right = [(self.model(part.x).argmax(1) == part.y).sum() for part in _parts(images)]
        return int(torch.stack(right).sum()) / len(images)


def _parts(images: Images) -> Iterator[Images]:
    for start in range(0, len(images), _PREDICT_BATCH):
        yield images[start : start + _PREDICT_BATCH]
