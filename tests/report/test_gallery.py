"""The gallery: read strictly, escaped, and alive in headless Chromium."""

import base64
import json
import re
import zlib

import numpy as np
import pytest

from qarmor import report
from qarmor.report.inputs import load_directory
from tests.report import chromium
from tests.report.conftest import ATTACKS, CLASSES, EVIL, Maker
from tests.report.test_page import Page

END = "</script><script>alert(4)</script>"
SETS = (f"digits{END}", "cifar2", "table")
NAMES = (EVIL, f"convnet{END}", "linear")
EPS = (0.05, 0.1, 0.3)
LABELS = (0, 1, 2, 2)


class Drawer(Maker):
    def shape(self, dataset):
        return (6,) if dataset == "table" else super().shape(dataset)

    def attempt(self, dataset, number, source, attack, eps=EPS):
        """All of one data set show the same images; networks fall after as many eps as their number says, one later for image 1."""
        shape = self.shape(dataset)
        clean = (np.arange(4 * np.prod(shape)) * 37 % 251).reshape(4, *shape)
        perturbation = np.stack([np.full(clean.shape, 127 * (-1) ** e // (1 + number)) for e in range(len(eps))])
        perturbation[:, 1] //= 2
        steps, networks, images = range(1 + len(eps)), range(len(NAMES)), list(enumerate(LABELS))
        said = np.array([[[(label + (e > m + (i == 1))) % 3 for i, label in images] for e in steps] for m in networks])
        probabilities = np.where(said[..., None] == np.arange(3), 0.8, 0.1)
        file = f"arrays/gallery-{SETS.index(dataset)}-{number}.npz"
        np.savez_compressed(self.folder / file, clean=clean, perturbation=perturbation, probabilities=probabilities, predictions=said)
        about = {"dataset": dataset, "source": source, "attack": attack, "eps": list(eps), "networks": list(NAMES), "arrays": file}
        return about | {"index": [11, 22, 33, 44], "labels": list(LABELS), "flags": ["gradient<b>"] * (number == 1)}


def make(folder):
    maker = Drawer(folder, datasets=SETS, networks=NAMES)
    pairs = [(NAMES[0], "pgd", EPS), (NAMES[1], "pgd", EPS), (NAMES[0], "pgd-margin", EPS[1:])]
    entries = [maker.attempt(name, number, source, attack, eps) for name in SETS for number, (source, attack, eps) in enumerate(pairs)]
    return maker.write([maker.section("look", "gallery", item="Fig 1 e,f", entries=entries), maker.section("more", "gallery", entries=[])]) or folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("gallery"))
    report.write(folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path)


@pytest.fixture(scope="module")
def data(written):
    (block,) = re.findall(r'<script type="application/json">(.*?)</script>', (written / "index.html").read_text(), re.DOTALL)
    return json.loads(block)


def _unpacked(text, kind):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)


def test_the_page_holds_what_the_arrays_hold(data, written):
    assert [one["name"] for one in data["sets"]] == list(SETS)
    assert [one["shape"] for one in data["sets"]] == [[1, 8, 8], [3, 32, 32], None]
    for s, one in enumerate(data["sets"]):
        assert one["classes"] == list(CLASSES)
        assert [image["label"] for image in one["images"]] == list(LABELS)
        for number, attempt in enumerate(one["attempts"]):
            with np.load(written / f"arrays/gallery-{s}-{number}.npz") as stored:
                assert np.array_equal(_unpacked(one["clean"], np.uint8), stored["clean"].ravel())
                if one["shape"]:
                    assert np.array_equal(_unpacked(attempt["perturbation"], np.int8), stored["perturbation"].ravel())
                assert np.abs(_unpacked(attempt["probabilities"], "<u2") / data["whole"] - stored["probabilities"].ravel()).max() < 1e-5
                assert np.array_equal(_unpacked(attempt["predictions"], "<u2"), stored["predictions"].ravel())


def test_names_are_escaped(written):
    text = (written / "index.html").read_text()
    assert "alert(4)</script>" not in text
    page = Page(text)
    assert len(page.all("script")) == 2, "the data, and the page's own"
    assert "<b>gradient" not in text
    assert "Missing: no images finished yet." in page.text


def test_attacks_of_one_label_are_told_apart(folder):
    value = json.loads((folder / "results.json").read_text())
    value["attacks"]["pgd-margin"]["label"] = value["attacks"]["pgd"]["label"]
    (folder / "results.json").write_text(json.dumps(value))
    text = report.write(folder).read_text()
    assert all(f'"attack": "PGD (ce), {name}"' in text for name in ("pgd", "pgd-margin"))


def test_the_script_comes_only_with_a_gallery(written, tmp_path):
    folder = Drawer(tmp_path, datasets=SETS, networks=NAMES)
    folder.write([])
    assert "DecompressionStream" not in report.write(tmp_path).read_text()
    assert "DecompressionStream" in (written / "index.html").read_text()


def _change_entry(folder, change):
    value = json.loads((folder / "results.json").read_text())
    change(value["sections"][0]["entries"][1])
    (folder / "results.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrays": ""}, "arrays should be the path of a file, got str"),
        ({"arrays": "../secret.npz"}, "arrays should be a file below the directory"),
        ({"eps": []}, "should not be empty"),
        ({"eps": [0.0, 0.1, 0.3]}, r"eps \(above 0\)"),
        ({"labels": [0, 1, 2]}, "as many labels as index"),
        ({"labels": [0, 1, 2, 3]}, "labels .* with 3 classes"),
        ({"index": [11, 22, 33, 45]}, "its images are others than those of pgd on"),
        ({"networks": ["one"]}, r"probabilities should be of shape \(1, 4, 4, 3\), got \(3, 4, 4, 3\)"),
    ],
)
def test_what_is_wrong_is_told(folder, change, message):
    _change_entry(folder, lambda entry: entry.update(change))
    with pytest.raises(ValueError, match=rf"results\.json is damaged.*{message}|npz is damaged.*{message}") as caught:
        load_directory(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("clean", lambda a: a[:3], r"clean should be 4 images, got shape \(3, 1, 8, 8\)"),
        ("perturbation", lambda a: 2 * a, "perturbation should lie between -127 and 127"),
        ("probabilities", lambda a: a * np.nan, "probabilities should lie between 0 and 1"),
        ("predictions", lambda a: a + 1, "predictions should lie between 0 and 2"),
        ("predictions", None, "it has no array predictions"),
    ],
)
def test_wrong_arrays(folder, name, change, message):
    path = folder / "arrays/gallery-0-0.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    whole = arrays.pop(name)
    np.savez(path, **arrays, **({} if change is None else {name: change(whole)}))
    with pytest.raises(ValueError, match=message):
        load_directory(folder)


@pytest.fixture(scope="module")
def browser():
    yield from chromium.launched()


@pytest.fixture
def visit(browser, written):
    yield from chromium.visits(browser, written / "index.html")


PIXELS = """one => {
  const copy = new OffscreenCanvas(one.width, one.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(one, 0, 0);
  return [...copy.getImageData(0, 0, 3, 1).data];
}"""


def _pixels(page, picture):
    return page.locator(f"canvas[data-picture={picture}]").evaluate(PIXELS)


def _said(page, start):
    page.wait_for_function("start => document.querySelector('.said').textContent.startsWith(start)", arg=start)
    return page.locator(".said").inner_text()


def _opened(page):
    page.locator(".answer").first.wait_for()
    return page


def test_what_is_drawn_and_said(visit):
    page = _opened(visit())
    told = _said(page, f"PGD (ce) made on {NAMES[0]}, eps 0.1, true class zero")
    assert told.endswith(f": 2 of 3 networks wrong. {NAMES[0]} says {CLASSES[1]} (0.80) and {NAMES[1]} says {CLASSES[1]} (0.80). linear is right.")
    assert _pixels(page, "clean") == [0, 0, 0, 255, 37, 37, 37, 255, 74, 74, 74, 255]
    assert _pixels(page, "change")[:4] == [84, 39, 136, 255], "darker by eps"
    assert _pixels(page, "attacked")[4:8] == [round(37 - 25.5)] * 3 + [255]
    assert page.locator(".amplified").inner_text() == ", 5 times amplified"
    assert page.locator(".answer").count() == 3
    assert page.locator(".answer.white .name b").inner_text() == NAMES[0]
    marks = page.locator(".answer").evaluate_all(
        "all => all.map(one => [one.querySelectorAll('circle').length, one.querySelectorAll('path').length])"
    )
    assert marks == [[1, 3], [2, 2], [3, 1]], "right and wrong at each eps"
    bars = page.locator(".answer").first.locator(".bar").evaluate_all("all => all.map(one => one.style.width)")
    assert [float(one[:-1]) for one in bars] == pytest.approx([10, 80, 10], abs=0.01)


def test_the_keyboard_does_everything(visit):
    page = _opened(visit())
    before = [_pixels(page, name) for name in ("clean", "change", "attacked")]
    page.get_by_role("slider", name="eps").focus()
    page.keyboard.press("ArrowRight")
    _said(page, f"PGD (ce) made on {NAMES[0]}, eps 0.3, true class zero")
    assert page.get_by_role("slider", name="eps").get_attribute("aria-valuetext") == "eps 0.3"
    after = [_pixels(page, name) for name in ("clean", "change", "attacked")]
    assert after[0] == before[0]
    assert after[1][:3] == [179, 88, 6]
    assert after[2] != before[2]
    page.keyboard.press("Home")
    assert _said(page, "No attack, eps 0, true class zero") == "No attack, eps 0, true class zero: all 3 networks are right."
    assert _pixels(page, "attacked") == before[0]
    assert page.locator(".amplified").inner_text() == ": none"
    page.get_by_role("radio", name="zero, test image 11").focus()
    page.keyboard.press("ArrowRight")
    _said(page, f"No attack, eps 0, true class {CLASSES[1]}")
    assert _pixels(page, "clean") != before[0]
    page.get_by_label("made on").select_option(label=NAMES[1])
    page.get_by_role("slider", name="eps").press("End")
    _said(page, f"PGD (ce) made on {NAMES[1]}, eps 0.3")
    assert _pixels(page, "attacked")[0] == round(109 + 255 * 0.3 * 31 / 127)
    page.keyboard.press("ArrowLeft")
    told = _said(page, f"PGD (ce) made on {NAMES[1]}, eps 0.1")
    assert told.endswith(f": 1 of 3 networks wrong. {NAMES[0]} says {CLASSES[2]} (0.80). The others are right.")
    page.keyboard.press("End")
    _said(page, f"PGD (ce) made on {NAMES[1]}, eps 0.3")
    assert page.get_by_text("This attack is flagged gradient<b>: see Flags.").is_visible()
    page.get_by_label("attack", exact=True).select_option(label=ATTACKS["pgd-margin"][2])
    _said(page, f"PGD (margin) made on {NAMES[0]}, eps 0.3")  # the source that this attack has
    assert page.get_by_role("slider", name="eps").get_attribute("max") == "2"
    page.get_by_label("data set").select_option(label="cifar2")
    _said(page, f"PGD (margin) made on {NAMES[0]}, eps 0.3, true class {CLASSES[1]}")
    assert page.locator("canvas[data-picture=clean]").evaluate("one => [one.width, one.height]") == [32, 32]
    assert len(set(_pixels(page, "clean")[:3])) == 3
    page.get_by_label("data set").select_option(label="table")
    page.wait_for_function("document.querySelector('.pictures').hidden")
    assert page.locator(".answer").count() == 3


def test_eps_rises_by_itself_until_its_end(visit):
    page = _opened(visit())
    play = page.get_by_role("button", name="raise eps")
    play.focus()
    page.keyboard.press("Enter")
    _said(page, "No attack, eps 0")
    assert page.locator(".play").inner_text() == "■ stop"
    for eps in EPS:
        _said(page, f"PGD (ce) made on {NAMES[0]}, eps {eps}, ")
        assert page.get_by_role("slider", name="eps").input_value() == str(1 + EPS.index(eps))
    assert play.is_visible()
    page.keyboard.press("Enter")
    _said(page, "No attack, eps 0")
    page.get_by_role("radio", name="zero, test image 11").press("ArrowRight")
    assert play.is_visible(), "whatever the reader does stops it"


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_sideways_scroll(visit, width, scheme):
    page = _opened(visit(width, scheme))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".answer .true").first.evaluate("one => one.scrollWidth <= one.parentElement.clientWidth")


def test_focus_of_an_image_can_be_seen(visit):
    page = _opened(visit())
    page.get_by_role("slider", name="eps").focus()
    page.keyboard.press("Shift+Tab")
    assert page.locator(".thumbs label").first.evaluate("one => getComputedStyle(one).outlineWidth") == "3px"


def test_without_javascript(visit):
    page = visit(javascript=False)
    assert page.get_by_text("The gallery is drawn by JavaScript").is_visible()
    assert not page.locator(".room").is_visible()


def test_what_fails_is_told(browser, written):
    page = browser.new_page()
    page.add_init_script("delete globalThis.DecompressionStream")
    page.goto((written / "index.html").as_uri())
    assert page.locator(".trouble").inner_text().startswith("The gallery cannot be shown: this browser is too old for it")
    assert not page.locator(".room").is_visible()
    page.close()
