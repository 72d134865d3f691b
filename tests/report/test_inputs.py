"""What is not a results directory is refused by one clear line."""

import json

import numpy as np
import pytest

from qarmor import report
from qarmor.report.inputs import load_directory


def _change(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_reads_everything(results, evil_name):
    inputs = load_directory(results)
    assert inputs.provenance.networks[evil_name].kind == "quantum"
    assert inputs.gallery.networks[evil_name].clean.shape == (2, 1, 8, 8)
    assert inputs.probabilities.image.shape == (1, 8, 8)
    assert inputs.history["convnet"].steps[0] == 10


def test_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing is not a directory; give the folder that `qarmor demo`"):
        report.write(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["rows.json", "provenance.json"])
def test_missing_file(results, name):
    (results / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing; make the results again"):
        report.write(results)


@pytest.mark.parametrize(
    "name", ["rows.json", "provenance.json", "history.json", "gallery.json", "probabilities.json", "gallery.npz", "probabilities.npz"]
)
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_damaged_file(results, name, content):
    (results / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged or of another format \(.*\); make the results again") as caught:
        report.write(results)
    assert "\n" not in str(caught.value)


def test_rows_of_another_shape(results):
    (results / "rows.json").write_text('[{"dataset": "x"}]')
    with pytest.raises(ValueError, match=r"rows\.json is damaged"):
        report.write(results)


def test_rows_with_text_for_a_number(results):
    _change(results / "rows.json", lambda rows: rows[0].update(value="high"))
    with pytest.raises(ValueError, match=r"rows\.json is damaged"):
        report.write(results)


def test_no_rows(results):
    (results / "rows.json").write_text("[]")
    with pytest.raises(ValueError, match=r"rows\.json holds no rows"):
        report.write(results)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("provenance.json", lambda v: v.pop("title"), "title and networks must be there"),
        ("provenance.json", lambda v: v.update(seconds="long"), "seconds should be a number, got str"),
        ("provenance.json", lambda v: v["networks"]["convnet"].update(kind=3), r"networks\.convnet\.kind should be text, got int"),
        ("history.json", lambda v: v["convnet"].pop("loss"), r"convnet\.loss should be a list of numbers, got nothing"),
        ("history.json", lambda v: v["convnet"]["loss"].pop(), "convnet: 39 steps for 38 losses"),
        ("gallery.json", lambda v: v["networks"]["convnet"]["labels"].pop(), "differ in number or shape"),
        ("gallery.json", lambda v: v["networks"]["convnet"].update(labels=[0, 9]), "label 9 with 3 classes"),
        ("probabilities.json", lambda v: v.update(label=-1), "label -1 with 3 classes"),
        ("probabilities.json", lambda v: v["networks"]["convnet"].pop(), r"networks\.convnet should be 4 lists"),
    ],
)
def test_wrong_content(results, name, change, message):
    _change(results / name, change)
    with pytest.raises(ValueError, match=message):
        report.write(results)


def test_gallery_without_its_arrays(results):
    (results / "gallery.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"gallery\.npz is missing beside gallery\.json"):
        report.write(results)


def test_gallery_that_lacks_a_network(results):
    np.savez(results / "gallery.npz", other=np.zeros(3))
    with pytest.raises(ValueError, match=r"gallery\.npz is damaged .*it has no array qvc<script>.*/clean"):
        report.write(results)


def test_pickled_arrays_are_refused(results):
    np.savez(results / "probabilities.npz", image=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"probabilities\.npz is damaged"):
        report.write(results)
