"""Whether QArmor can attack and score a model from elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qarmor.attacks import checks
from qarmor.attacks.ensemble import is_stochastic
from qarmor.attacks.findings import Check, CheckError, Finding, refuse_errors, table
from qarmor.attacks.preflight import SAME_IMAGE, preflight
from qarmor.testing.common import changes, said
from qarmor.types import Images, frozen

MODEL_CHECKS: Mapping[str, Check] = table(
    (
        Check(
            "model-call",
            "Cannot be called on a batch",
            "error",
            "The model raises an error when it is called on a batch of these images.",
            "let forward take one float32 tensor of images in [0, 1]",
        ),
        Check(
            "model-logits",
            "No logits",
            "error",
            "The model must return a float tensor of logits, one row an image and one column a class, on the device of the images.",
            "return logits (B, K), K at least 2 and above every label",
        ),
        Check(
            "model-slice",
            "One image alone",
            "error",
            "The model fails on a batch of one image, which is what the last batch may be.",
            "do not squeeze the batch dimension",
        ),
        Check(
            "model-copy",
            "Not the same when frozen",
            "error",
            "A frozen copy of the model, which is what is attacked and scored, cannot be made, can still be trained or gives other logits.",
            "let copy.deepcopy work, or write freeze()",
        ),
        Check(
            "model-state",
            "Changes by being asked",
            "error",
            "Parameters or buffers of the model in eval mode are other ones after it has been asked and differentiated.",
            "update statistics in training mode only",
        ),
    )
)
"""The checks that ``check_model`` makes besides those of ``preflight``, by code."""


def check_model(module: nn.Module, images: Images) -> tuple[Finding, ...]:
    """Whether QArmor can attack and score ``module``.

    Tried are: a call on a batch and on one image; a frozen copy (``types.frozen``), its logits and its parameters; that asking changes nothing in the
    model; and ``attacks.preflight`` on the frozen copy: logits and gradients finite, the same from call to call and in every batch, the gradient not
    zero and in agreement with finite differences.

    Args:
        module: maps images ``(B, ...)`` in [0, 1] to logits ``(B, K)``. It stays as it was.
        images: as the module takes them, with their labels; up to eight are used.

    Returns:
        The warnings.

    Raises:
        TypeError, ValueError: no module, or images that are no float32 in [0, 1] with int64 labels.
        CheckError: the first check of ``MODEL_CHECKS``, or those of ``attacks.findings.CHECKS``, that failed. A ValueError.
    """
    checks.check_model(module)
    if not isinstance(images, Images):
        raise TypeError(f"images must be qarmor.types.Images, got {type(images).__name__}: wrap tensors as Images(x, y, index, name)")
    x = checks.check_images(images.x)[:8]
    y = checks.check_labels(images.y, images.x)[:8]
    if not len(x):
        raise ValueError(f"images {images.name!r} is empty: pass at least one image")
    blame = f"model {type(module).__name__}"
    try:
        frozen_copy = frozen(module)
    except Exception as error:  # whatever a copy may raise
        raise _failed(blame, "model-copy", f"freezing it raised {said(error)}") from error
    logits = _logits(frozen_copy, x, blame, "model-call")
    _check_logits(logits, x, y, blame)
    one = _logits(frozen_copy, x[:1], blame, "model-slice")
    if one.shape != logits[:1].shape:
        raise _failed(blame, "model-slice", f"it returned logits of shape {tuple(one.shape)} for one image")
    _check_copy(module, frozen_copy, x, logits, blame)
    before = copy.deepcopy(frozen_copy.state_dict())
    try:
        found = preflight(frozen_copy, x, y)
    except RuntimeError as error:  # a backward pass may raise anything, and autograd makes RuntimeErrors of most
        raise _failed(blame, "model-call", f"its gradient raised {said(error)}") from error
    if changed := changes(frozen_copy.state_dict(), before):
        raise _failed(blame, "model-state", f"{changed} changed")
    return refuse_errors(blame, found)


def _logits(model: nn.Module, x: Tensor, blame: str, code: str) -> Tensor:
    try:
        with torch.no_grad():
            logits = model(x.clone())
    except Exception as error:  # whatever a forward pass may raise
        raise _failed(blame, code, f"a call on images of shape {tuple(x.shape)} raised {said(error)}") from error
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise _failed(blame, "model-logits", f"it returned {logits.dtype if isinstance(logits, Tensor) else type(logits).__name__}")
    return logits


def _check_logits(logits: Tensor, x: Tensor, y: Tensor, blame: str) -> None:
    if logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        raise _failed(blame, "model-logits", f"it returned shape {tuple(logits.shape)} for {len(x)} images")
    if int(y.max()) >= logits.shape[1]:
        raise _failed(blame, "model-logits", f"it has {logits.shape[1]} classes, and there is a label {int(y.max())}")
    if logits.device != x.device:
        raise _failed(blame, "model-logits", f"its logits are on {logits.device}, the images on {x.device}")


def _check_copy(module: nn.Module, frozen_copy: nn.Module, x: Tensor, logits: Tensor, blame: str) -> None:
    """``logits`` are those of ``frozen_copy``."""
    if trainable := [name for name, parameter in frozen_copy.named_parameters() if parameter.requires_grad]:
        raise _failed(blame, "model-copy", f"its frozen copy can still be trained: {trainable[0]}")
    if is_stochastic(module):
        return
    modes = [(part, part.training) for part in module.modules()]
    state = copy.deepcopy(module.state_dict())
    try:
        original = _logits(module.eval(), x, blame, "model-call")
    finally:
        for part, training in modes:
            part.training = training
    if changed := changes(module.state_dict(), state):
        raise _failed(blame, "model-state", f"{changed} changed")
    again = _logits(frozen_copy, x, blame, "model-call")
    if not torch.equal(again, logits):
        return  # random, which preflight says better
    difference = float((original - logits).abs().max()) if original.shape == logits.shape else float("inf")
    if difference > SAME_IMAGE * float(logits.abs().max()):
        raise _failed(blame, "model-copy", f"logits of its frozen copy differ by up to {difference:.2g}")


def _failed(blame: str, code: str, detail: str) -> CheckError:
    return CheckError.of(blame, [Finding(MODEL_CHECKS[code], detail)])
