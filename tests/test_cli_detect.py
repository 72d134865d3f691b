"""``qarmor detect``, as a user meets it: on a data set, on images in a file, and on images that arrive."""

import io

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from qarmor import cli, models
from qarmor.evaluation.detection import Detector, Observations, calibrate, evaluate_detection
from qarmor.types import Rows


@pytest.fixture
def qarmor(tmp_path, monkeypatch, capsys):
    """Run a command in a temporary folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.out, "_width", 220)

    def run(*arguments, stdin=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = cli.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def small(tmp_path, tiny):
    """A data set, and two networks that get most of it right, each in its own way."""
    part = {"x_train": tiny.train.x, "y_train": tiny.train.y, "x_test": tiny.train.x, "y_test": tiny.train.y}
    np.savez(tmp_path / "small.npz", **{k: v.numpy() for k, v in part.items()})
    for number, noise in enumerate((0.0, 4.0)):
        with torch.random.fork_rng():
            torch.manual_seed(number)
            network = models.build("linear", tiny, seed=number)
            weight = torch.stack([-(tiny.train.x[tiny.train.y != k].mean(0) - tiny.train.x[tiny.train.y == k].mean(0)).flatten() for k in range(3)])
            for layer in network.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight.data = 3 * weight + noise * 0.1 * torch.randn(3, 64)
                    layer.bias.data.zero_()
        models.save(network, tmp_path / f"net{number}.safetensors", dataset="small")
    return "small.npz"


def test_on_a_data_set(qarmor, small, tmp_path):
    arguments = ("detect", "net0.safetensors", "net1.safetensors", small, "--attack", "pgd", "--attack", "fgsm", "--source", "both", "--images", 40)
    status, text, error = qarmor(*arguments, "--false-positive-rate", 0.1, "--out", "rows/r.json", "--save", "kept")
    assert status == 0, error
    for said in (
        "net0 and net1 on 40 clean images of small.npz/test",
        "classes differ",
        "score > ",
        "threshold set for 0.1 false positives on 40 other clean images",
        "net0+net1 (knows the detector)",
        "0.23 to 0.30",
        "fgsm",
    ):
        assert said in text
    rows = Rows.from_json((tmp_path / "rows" / "r.json").read_text())
    assert {row.source for row in rows} == {"", "net0", "net1", "net0+net1"}
    assert {row.target for row in rows} == {"net0+net1"}
    false = rows.where(metric="false_positive_rate")[0]
    assert f"{false.successes} of 40: {false.value:.3f} [{false.low:.3f}, {false.high:.3f}]" in text
    # the rows again, from what was saved: from the probabilities, and these from the images
    kept = {path.stem: safetensors.torch.load_file(path) for path in (tmp_path / "kept").iterdir()}
    assert sorted(kept) == ["clean", "held-out", "net0", "net0+net1", "net1"]
    seen = {name: Observations.from_tensors(tensors) for name, tensors in kept.items()}
    again = evaluate_detection(seen["clean"], [seen[n] for n in ("net0", "net1", "net0+net1")], seen["held-out"], false_positive_rate=0.1)
    assert again.to_json() == rows.to_json()
    networks = [models.load(f"net{number}.safetensors") for number in (0, 1)]
    for name, tensors in kept.items():
        for which, network in zip(("first", "second"), networks, strict=True):
            torch.testing.assert_close(network(tensors["x"]).detach().double().softmax(1), tensors[which], rtol=0, atol=1e-5)
        assert (Detector(*networks).alarm(tensors["x"]) == seen[name].disagree).all()
    assert f"score > {calibrate(seen['held-out'].score, 0.1):.4f}" in text
    assert qarmor(*arguments, "--false-positive-rate", 0.1, "--out", "again.json")[0] == 0
    assert (tmp_path / "again.json").read_text() == rows.to_json()


def test_on_a_third_of_the_images_if_there_are_few(qarmor, small):
    status, text, error = qarmor("detect", "net0.safetensors", "net0.safetensors", small, "--attack", "fgsm")
    assert status == 0, error
    assert "net0-1 and net0-2 on 40 clean images" in text
    assert "0 of 40: 0.000" in text  # a network never disagrees with itself


def test_the_papers_counts_are_beside_the_pair_that_has_them(small, tmp_path, tiny):
    from qarmor.cli.detect import _known_as

    names = {"convnet": "convnet", "resnet18": "resnet18", "qvc5": "qvc5", "linear": "linear"}
    for name, known in names.items():
        models.save(models.build(name, tiny), tmp_path / f"{name}.safetensors")
        assert _known_as(str(tmp_path / f"{name}.safetensors")) == known
    assert _known_as("package.module:factory") == ""


def lines(text):
    return [line.split("\t") for line in text.splitlines()]


def test_on_images_in_a_file_and_on_images_that_arrive(qarmor, small, tmp_path, tiny):
    x = tiny.test.x.numpy()
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "bytes.npz", x=(255 * x[:, 0]).round().astype(np.uint8))  # (N, H, W), bytes
    for number in range(len(x)):
        np.save(tmp_path / f"{number}.npy", x[number, 0] if number % 2 else x[number])  # (H, W) or (C, H, W)
    two = [models.load(tmp_path / f"net{number}.safetensors") for number in (0, 1)]
    expected = Detector(*two).judge(tiny.test.x)
    model = ("detect", "net0.safetensors", "net1.safetensors")
    status, text, error = qarmor(*model, "x.npz")
    assert status == 0, error
    head, *told = lines(text)
    assert head == ["image", "net0", "net1", "score", "alarm"]
    assert [int(line[0]) for line in told] == list(range(30))
    assert [int(line[1]) for line in told] == expected.first.tolist()
    assert [int(line[2]) for line in told] == expected.second.tolist()
    assert [float(line[3]) for line in told] == pytest.approx(expected.score.tolist(), abs=2e-6)
    assert [line[4] == "yes" for line in told] == expected.alarm.tolist()
    arrived = qarmor(*model, "-", stdin="\n".join(f"{number}.npy" for number in range(30)) + "\n\n")
    assert arrived[0] == 0
    assert [line[0] for line in lines(arrived[1])[1:]] == [f"{number}.npy" for number in range(30)]
    assert [line[1:] for line in lines(arrived[1])] == [line[1:] for line in lines(text)]
    assert [abs(float(a[3]) - float(b[3])) < 0.03 for a, b in zip(lines(qarmor(*model, "bytes.npz")[1])[1:], told, strict=True)] == [True] * 30
    above = lines(qarmor(*model, "x.npz", "--threshold", 0.2)[1])[1:]
    assert [line[4] == "yes" for line in above] == (expected.score > 0.2).tolist()


def test_each_image_is_answered_before_the_next_is_awaited(qarmor, small, tmp_path, tiny, monkeypatch, capsys):
    np.save(tmp_path / "one.npy", tiny.test.x[0].numpy())
    answered = []

    def arriving():
        for _ in range(3):
            answered.append(capsys.readouterr().out.count("\n"))
            yield "one.npy\n"

    monkeypatch.setattr("sys.stdin", arriving())
    assert cli.run(["detect", "net0.safetensors", "net1.safetensors", "-"]) == 0
    assert answered == [1, 1, 1]  # the head, then a line each
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect", "a"], "Missing argument"),
        (["small.npz", "--attack", "magic"], "unknown attack 'magic'; there are pgd, fgsm"),
        (["small.npz", "--source", "third"], "--source must be one of first, second, both, got third"),
        (["small.npz", "--false-positive-rate", "1.5"], "--false-positive-rate must be between 0 and 1, got 1.5"),
        (["small.npz", "--threshold", "0.5"], "--threshold goes with images to judge, not with small.npz"),
        (["-", "--attack", "pgd"], "--attack goes with a data set, not with -"),
        (["x.npz", "--out", "r.json"], "--out goes with a data set, not with x.npz"),
        (["small.npz", "--attack", "fgsm", "--images", "50"], "50 clean, 50 attacked and 50 held-out images are 150, but 'small.npz/test' has 120"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(qarmor, small, tmp_path, arguments, message):
    np.savez(tmp_path / "x.npz", x=np.ones((2, 1, 8, 8)))
    if arguments[0] != "detect":
        arguments = ["detect", "net0.safetensors", "net1.safetensors", *arguments]
    status, _, error = qarmor(*arguments)
    assert (status, error.count("\n")) == (2, 1), error
    assert message in error


def test_failures_are_one_line_and_status_1(qarmor, small, tmp_path):
    np.savez(tmp_path / "black.npz", x=np.zeros((2, 1, 8, 8), dtype=np.float32))
    np.savez(tmp_path / "whole.npz", x=np.zeros((2, 1, 8, 8), dtype=np.int64))
    np.savez(tmp_path / "large.npz", x=np.full((2, 1, 8, 8), 255.0))
    np.savez(tmp_path / "other.npz", x=np.ones((2, 1, 9, 9), dtype=np.float32))
    (tmp_path / "no.npy").write_text("nothing")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    model = ("detect", "net0.safetensors", "net1.safetensors")
    for arguments, stdin, message in (
        ((*model, "minst", "--attack", "fgsm"), "", "did you mean mnist?"),
        ((*model, "black.npz"), "", "0: x: image 0 of 1 is all zero"),
        ((*model, "whole.npz"), "", "whole.npz: images must be uint8, or float in [0, 1], got int64"),
        ((*model, "large.npz"), "", "has a pixel outside [0, 1]; rescale it"),
        ((*model, "other.npz"), "", "images of shape (1, 8, 8)"),
        ((*model, "-"), "no.npy\n", "no.npy holds no array of images"),
        ((*model, "-"), "objects.npy\n", "objects.npy holds no array of images"),
        ((*model, "-"), "absent.npy\n", "absent.npy: No such file"),
    ):
        status, _, error = qarmor(*arguments, stdin=stdin)
        assert (status, error.count("\n")) == (1, 1), (arguments, error)
        assert message in error


def test_help_says_what_it_takes(qarmor):
    status, text, _ = qarmor("detect", "--help")
    assert status == 0
    plain = " ".join(text.split())
    assert "an .npz file that holds x" in plain
    assert "pgd, fgsm, autoattack" in plain
