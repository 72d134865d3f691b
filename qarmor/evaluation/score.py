"""Accuracies and fooling rates: networks judged on clean and on adversarial images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from qarmor.evaluation.checks import check_attack, check_images, check_networks, check_seed, checked_grid
from qarmor.evaluation.craft import Adversarials, craft_prepared, look_at
from qarmor.evaluation.flags import flag
from qarmor.evaluation.predict import BATCH_SIZE, Network, majority, predict, prepare
from qarmor.evaluation.statistics import wilson
from qarmor.types import Attack, Images, Row, Rows

Progress = Callable[[int, int, str], None]


def clean(targets: Mapping[str, nn.Module], images: Images, *, batch_size: int = BATCH_SIZE) -> Rows:
    """Accuracy of each network on clean images: one row of metric ``"accuracy"`` a target, source and attack ``""``, eps 0, seed 0.

    Targets are frozen first. Raises as ``craft`` does for its images and its source.
    """
    check_networks(targets, "targets")
    check_images(images)
    return flag(clean_rows([prepare(name, module, images, batch_size) for name, module in targets.items()], images))


def score(targets: Mapping[str, nn.Module], adversarials: Adversarials, *, batch_size: int = BATCH_SIZE) -> Rows:
    """Judge each network on adversarial images.

    Targets are frozen first. A target that draws random numbers draws them from torch's global generator.

    Returns:
        Two rows a target. ``"accuracy"``: right answers among all images, with ``majority`` filled. ``"fooling_rate"``: wrong answers among the
        images that source and target both get right when clean, ``majority`` None; where there is no such image n is 0, the value NaN and
        the interval [0, 1]. With one eps per image ``eps`` is None and the parameters also hold ``eps_low`` and ``eps_high``.
        Flags of the source's gradients are on every row; those that compare rows come from ``flag``.

    Raises:
        TypeError, ValueError: no targets, or one that is no module, returns NaN, another batch size, one logit, or has too few classes.
    """
    check_networks(targets, "targets")
    if not isinstance(adversarials, Adversarials):
        raise TypeError(f"adversarials must come from craft, got {type(adversarials).__name__}")
    networks = [prepare(name, module, adversarials.images, batch_size) for name, module in targets.items()]
    return _attacked_rows(networks, adversarials, batch_size)


def transfer(
    sources: Mapping[str, nn.Module],
    targets: Mapping[str, nn.Module],
    images: Images,
    attack: Attack,
    eps_grid: Sequence[float],
    seed: int,
    *,
    on_progress: Progress | None = None,
    batch_size: int = BATCH_SIZE,
) -> Rows:
    """Attack each source at each eps and judge all targets on the outcome: the product of ``craft`` and ``score``.

    Every network is frozen once and predicts the clean images once, also when it is both source and target.

    Args:
        sources, targets: networks by name; a name that stands in both is taken for the same network (the white box), and must be.
        images: clean images, float32 in [0, 1].
        attack: an instance that meets ``types.Attack``.
        eps_grid: strictly rising, each in [0, 1]; 0 may be among them.
        seed: seed handed to the attack, the same for every source and eps.
        on_progress: called as ``on_progress(done, total, text)`` after each source and eps.
        batch_size: images a call for what is measured here; the attack has its own.

    Returns:
        First the rows of ``clean(targets, images)``, then those of ``score``, by source, eps and target, with the flags of ``flag``.

    Raises:
        TypeError, ValueError: as ``craft`` and ``score``; also for a grid that is empty, falls, repeats or leaves [0, 1], and for a name that
            means one network among the sources and another among the targets.
    """
    check_networks(sources, "sources")
    check_networks(targets, "targets")
    check_images(images)
    check_attack(attack)
    check_seed(seed)
    grid = checked_grid(eps_grid)
    networks: dict[str, Network] = {}
    for name, module in [*sources.items(), *targets.items()]:
        if sources.get(name, module) is not module:
            raise ValueError(f"the name {name!r} means one network in sources and another in targets; give them different names")
        if name not in networks:
            networks[name] = prepare(name, module, images, batch_size)
    judged = [networks[name] for name in targets]
    rows = clean_rows(judged, images)
    total = len(sources) * len(grid)
    for number, name in enumerate(sources):
        source = look_at(networks[name], images, batch_size)
        for done, eps in enumerate(grid, start=number * len(grid) + 1):
            rows.extend(_attacked_rows(judged, craft_prepared(source, images, attack, eps, seed, batch_size), batch_size))
            if on_progress is not None:
                on_progress(done, total, f"{attack.name} on {name}, eps {eps:g}")
    return flag(rows)


def clean_rows(networks: Sequence[Network], images: Images) -> Rows:
    """``clean`` for networks that have been prepared, without flags."""
    share = majority(images.y)
    common = {"dataset": images.name, "source": "", "attack": "", "parameters": {}, "eps": 0.0, "seed": 0}
    return Rows(
        _row(common, target=network.name, metric="accuracy", hits=network.clean_predictions == images.y, majority=share) for network in networks
    )


def _attacked_rows(networks: Sequence[Network], adversarials: Adversarials, batch_size: int) -> Rows:
    return Rows(row for network in networks for row in judge(network, adversarials, batch_size)[0])


def judge(network: Network, adversarials: Adversarials, batch_size: int = BATCH_SIZE) -> tuple[Rows, Tensor]:
    """``score`` for one network that has been prepared: its rows, and what it said of each adversarial image, int64 ``(N,)``."""
    images, eps = adversarials.images, adversarials.eps
    parameters = dict(adversarials.parameters)
    if isinstance(eps, Tensor):
        parameters |= {"eps_low": float(eps.min()), "eps_high": float(eps.max())}
    common = {
        "dataset": images.name,
        "source": adversarials.source,
        "attack": adversarials.attack,
        "parameters": parameters,
        "eps": None if isinstance(eps, Tensor) else eps,
        "seed": adversarials.seed,
        "flags": adversarials.flags,
    }
    predictions = predict(network.model, adversarials.x, batch_size, name=network.name).argmax(1)
    right = predictions == images.y
    both = adversarials.source_clean_correct & (network.clean_predictions == images.y)
    accuracy = _row(common, target=network.name, metric="accuracy", hits=right, majority=majority(images.y))
    return Rows([accuracy, _row(common, target=network.name, metric="fooling_rate", hits=~right[both], majority=None)]), predictions


def _row(common: Mapping[str, Any], *, target: str, metric: str, hits: Tensor, majority: float | None) -> Row:
    successes, n = int(hits.sum()), len(hits)
    low, high = wilson(successes, n)
    value = successes / n if n else float("nan")
    return Row(**common, target=target, metric=metric, value=value, successes=successes, n=n, low=low, high=high, majority=majority)
