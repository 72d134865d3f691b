"""The shared words."""

import dataclasses

import pytest
import torch

from qarmor.types import Classifier, Images, Row, Rows, frozen, named_object


def images(n=10):
    return Images(torch.rand(n, 4), torch.arange(n) % 2, torch.arange(n) + 100, "a/test")


def row(**changes):
    base = Row("a/test", "s", "t", "pgd", {"steps": 3, "loss": "ce"}, 0.1, "accuracy", 0.5, 5, 10, 0.2, 0.8, 0.5, 0)
    return dataclasses.replace(base, **changes)


def test_images_slice_and_subset():
    some = images()[2:5]
    assert (len(some), some.index.tolist(), some.name) == (3, [102, 103, 104], "a/test")
    drawn = images().subset(4, seed=1)
    assert drawn.index.tolist() == sorted(set(drawn.index.tolist()))
    assert drawn.index.tolist() == images().subset(4, seed=1).index.tolist() != images().subset(4, seed=2).index.tolist()
    assert torch.equal(drawn.index - 100, torch.tensor([i for i in range(10) if 100 + i in drawn.index.tolist()]))
    with pytest.raises(ValueError, match=r"n must be between 1 and 10 \(the images in 'a/test'\), got 11"):
        images().subset(11, 0)
    with pytest.raises(ValueError, match="x, y and index differ in length: 3, 2, 3"):
        Images(torch.rand(3, 4), torch.zeros(2).long(), torch.arange(3), "a")
    with pytest.raises(ValueError, match=r"x must be \(N, C, H, W\) or \(N, d\), got shape \(3, 4, 4\)"):
        Images(torch.rand(3, 4, 4), torch.zeros(3).long(), torch.arange(3), "a")


def test_frozen_leaves_the_module_alone():
    module = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Dropout(0.5)).train()
    copy = frozen(module)
    assert not copy.training
    assert module.training
    assert not any(p.requires_grad for p in copy.parameters())
    assert all(p.requires_grad for p in module.parameters())

    class Mine(Classifier):
        def freeze(self):
            return torch.nn.Identity()

    assert isinstance(frozen(Mine()), torch.nn.Identity)


def test_rows_round_trip_and_select():
    rows = Rows([row(), row(target="u", flags=("zero-gradient",), eps=None, majority=None)])
    again = Rows.from_json(rows.to_json())
    assert again == rows
    assert rows.where(target="u")[0].flags == ("zero-gradient",)
    assert isinstance(rows + rows, Rows)
    frame = rows.to_frame()
    assert (len(frame), frame["value"][0]) == (2, 0.5)
    assert Rows().to_frame().columns[0] == "dataset"
    with pytest.raises(ValueError, match="rows have no field 'colour'; they have attack"):
        rows.where(colour=1)
    with pytest.raises(ValueError, match="not a list of result rows"):
        Rows.from_json('[{"a": 1}]')


def test_named_object():
    assert named_object("math:pi") > 3
    for name, message in {
        "math": "not of the form package.module:factory",
        ":pi": "not of the form",
        "no_such_module_at_all:x": "cannot import 'no_such_module_at_all'",
        "math:tau2": "module 'math' has no 'tau2'",
    }.items():
        with pytest.raises(ValueError, match=message):
            named_object(name)
