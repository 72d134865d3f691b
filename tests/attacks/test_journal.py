import pytest
import torch

from qarmor.attacks import PGD, AutoAttack
from qarmor.attacks.journal import CheckpointError


class Stop(Exception):
    pass


def stopping_at(stage: str, finished: int):
    def told(progress) -> None:
        if (progress.stage, progress.finished) == (stage, finished):
            raise Stop

    return told


ATTACK = AutoAttack(steps=4, queries=10, batch_size=8)


@pytest.mark.parametrize(("stage", "finished"), [("apgd-t", 0), ("square", 8), ("autoattack", 16)])
def test_a_killed_attack_goes_on_to_the_same_images(mlp, images, tmp_path, stage, finished) -> None:
    x, y = images(20)
    model = mlp()
    whole = ATTACK(model, x, y, 0.1, seed=3)
    with pytest.raises(Stop):
        ATTACK(model, x, y, 0.1, seed=3, checkpoint=tmp_path / "kept", on_progress=stopping_at(stage, finished))
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept
    stages = []
    again = ATTACK(model, x, y, 0.1, seed=3, checkpoint=tmp_path / "kept", on_progress=lambda p: stages.append((p.stage, p.finished)))
    assert torch.equal(again, whole)
    # what was finished is not done again: neither a batch nor an attack of the suite
    assert all((name.split("-", 1)[1].removesuffix(".safetensors"), int(name[:6])) not in stages for name in kept)


def test_a_finished_attack_is_read_not_made_again(mlp, images, tmp_path) -> None:
    x, y = images(20)
    attack = PGD(steps=3, batch_size=8)
    first = attack(mlp(), x, y, 0.1, checkpoint=tmp_path)
    stages = []
    assert torch.equal(attack(mlp(), x, y, 0.1, checkpoint=tmp_path, on_progress=stages.append), first)
    assert not stages


@pytest.mark.parametrize("change", ["eps", "seed", "model", "images", "labels", "attack"])
def test_a_checkpoint_of_another_call_is_refused(mlp, images, tmp_path, change) -> None:
    x, y = images(6)
    call = {"attack": PGD(steps=2), "model": mlp(), "x": x, "y": y, "eps": 0.1, "seed": 1}

    def run(attack, model, x, y, eps, seed):
        return attack(model, x, y, eps, seed=seed, checkpoint=tmp_path)

    run(**call)
    other = {
        "eps": {"eps": 0.2},
        "seed": {"seed": 2},
        "model": {"model": mlp(seed=1)},
        "images": {"x": 1 - x},
        "labels": {"y": (y + 1) % 4},
        "attack": {"attack": PGD(steps=3)},
    }[change]
    with pytest.raises(CheckpointError, match=r"is damaged or of another call .*: delete it or name another folder"):
        run(**{**call, **other})


def test_one_changed_bit_is_found(mlp, images, tmp_path) -> None:
    x, y = images(6)
    PGD(steps=2)(mlp(), x, y, 0.1, checkpoint=tmp_path)
    (file,) = tmp_path.iterdir()
    damaged = bytearray(file.read_bytes())
    damaged[-3] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="is damaged"):
        PGD(steps=2)(mlp(), x, y, 0.1, checkpoint=tmp_path)
    file.write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="cannot be read .* delete it to start anew"):
        PGD(steps=2)(mlp(), x, y, 0.1, checkpoint=tmp_path)
