"""Tables, words, pixels and figures on their own."""

import base64
import io
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from qarmor.evaluation import FLAGS
from qarmor.report import figures, pixels, tables
from qarmor.report.inputs import load_directory
from qarmor.report.page import duration
from qarmor.report.summary import caution, is_control, listed, summary
from qarmor.report.tables import DASH, Book, contrast, flag_counts, number, shade, slugs
from qarmor.types import Rows


def _book(results):
    inputs = load_directory(results)
    return Book(inputs.rows, list(inputs.provenance.networks)), inputs


def _pixels(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))))


def test_text_on_shades_is_readable():
    assert min(contrast(*shade(value)) for value in [*np.linspace(0, 1, 1001), math.nan]) >= 4.5


def test_contrast_by_hand():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_every_flag_of_the_evaluation_is_explained():
    assert set(tables.FLAGS) == set(FLAGS)


def test_flags_are_counted(results):
    counts = {code: count for code, count, _ in flag_counts(load_directory(results).rows)}
    assert counts["transfer-beats-white-box"] == 6
    assert counts["zero-gradient"] == 0
    assert counts["made-up-flag"] == 6


def test_attacks_of_one_name_are_told_apart(results):
    book, _ = _book(results)
    assert [attack.label for attack in book.attacks] == ["pgd (loss ce)", "pgd (loss margin)", "fgsm (loss ce)"]
    assert book.reference_attack.label == "pgd (loss margin)"
    assert book.reference_eps == 0.1


def test_attacks_that_differ_in_steps_alone(results):
    rows = load_directory(results).rows.where(attack="pgd")
    more = Rows(type(row)(**{**vars(row), "parameters": {"loss": "ce", "steps": 7}}) for row in rows)
    assert "pgd (loss ce, steps 7)" in [attack.label for attack in Book(rows + more, []).attacks]


def test_repeated_rows_are_ignored_and_other_seeds_counted(results):
    rows = load_directory(results).rows
    assert Book(rows + load_directory(results).rows, []).unseen == 0
    again = Rows(type(row)(**{**vars(row), "seed": 9}) for row in rows if row.source)
    assert Book(rows + again, []).unseen == len(again)


def test_curves_start_with_the_clean_row_of_the_same_images(results):
    rows = Rows(row for row in load_directory(results).rows if not row.source or row.eps)
    book = Book(rows, [])
    assert [row.eps for row in book.curve(book.attacks[0], "convnet", "convnet")] == [0.05, 0.1, 0.3]
    same = Rows(row if row.source else type(row)(**{**vars(row), "n": 120}) for row in rows)
    assert [row.eps for row in Book(same, []).curve(book.attacks[0], "convnet", "convnet")] == [0.0, 0.05, 0.1, 0.3]


def test_summary_tells_the_numbers(results, evil_name):
    book, inputs = _book(results)
    text = " ".join(summary(book, inputs))
    assert "4 networks, trained on 1437 images of digits, were attacked on 120 images of digits/test" in text
    assert f"Accuracy on clean images: {evil_name} 0.92, convnet 0.99, _linear 0.94 and quadratic 0.95" in text
    assert "commonest class would score 0.10" in text
    row = book.find(book.reference_attack, "convnet", "quadratic", 0.1)
    assert f"those made on convnet halve _linear (to 0.34) and quadratic (to {row.value:.2f})" in text


def test_caution_names_the_controls(results, evil_name):
    book, inputs = _book(results)
    text = " ".join(caution(book, inputs.provenance))
    assert "Nothing here is a quantum advantage that a linear or quadratic classical model shows as well" in text
    assert f"Under attacks made on convnet, {evil_name} keeps 0.47; level with it or above: quadratic (0.42)." in text


def test_caution_without_controls_or_quantum_networks(results):
    inputs = load_directory(results)
    without = Book(Rows(row for row in inputs.rows if row.target != "quadratic"), [])
    assert "No classical control" in caution(without, inputs.provenance)[0]
    assert "not about a quantum advantage" in caution(Book(inputs.rows.where(target="convnet"), []), inputs.provenance)[0]


def test_controls_by_name():
    assert [name for name in ("linear", "quadratic^.1", "Linear-2", "linearised", "qvc", "mlp") if is_control(name)] == [
        "linear",
        "quadratic^.1",
        "Linear-2",
    ]


def test_small_words():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert [duration(s) for s in (None, 3.21, 73.8, 7300)] == ["not recorded", "3.2 s", "1 min 14 s", "2 h 1 min"]
    assert [number(v) for v in (None, math.nan, 0.5)] == [DASH, DASH, "0.500"]
    assert slugs(["a/b", "a b", "ü"]) == {"a/b": "a-b", "a b": "a-b-2", "ü": "x"}


def test_perturbation_colours():
    perturbation = np.array([[[-0.1, 0.0, 0.1, 0.2]]], dtype=np.float32)
    assert _pixels(pixels.perturbation_url(perturbation, 0.1))[0].tolist() == [
        list(c) for c in (pixels.DARKER, pixels.EVEN, pixels.BRIGHTER, pixels.BRIGHTER)
    ]
    colour = np.stack([perturbation[0], 0 * perturbation[0], -perturbation[0]])
    assert _pixels(pixels.perturbation_url(colour, 0.1))[0, :3].tolist() == [[0, 128, 255], [128, 128, 128], [255, 128, 0]]


def test_images_keep_their_pixels():
    image = np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 3, 4)
    assert np.abs(_pixels(pixels.image_url(image)) / 255 - image[0]).max() <= 0.5 / 255 + 1e-6
    assert _pixels(pixels.image_url(np.repeat(image, 3, 0))).shape == (3, 4, 3)


def test_styles_differ():
    found = list(figures.styles([str(i) for i in range(12)]).values())
    assert len({(style.colour, style.marker) for style in found}) == 12
    assert len({str(style.dash) for style in found[:5]}) == len({style.colour for style in found[:5]}) == 5


def test_figures_ignore_the_users_settings(results, monkeypatch):
    import matplotlib

    book, _ = _book(results)
    looks = figures.styles(book.networks)
    before = figures.accuracy_panel(book, book.attacks[0], "convnet", looks)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "path")
    assert figures.accuracy_panel(book, book.attacks[0], "convnet", looks) == before
    assert matplotlib.rcParams["font.size"] == 30


def test_inline_follows_the_theme_and_keeps_text(results, evil_name):
    book, _ = _book(results)
    svg = figures.accuracy_panel(book, book.attacks[0], evil_name, figures.styles(book.networks))
    root = ET.fromstring(figures.inline(svg, "p7", "said <aloud>"))
    assert root.find("title").text == "said <aloud>"
    assert "made on qvc<script>alert(1)</sc…" in [text.text for text in root.iter("text")]
    assert all(element.get("id").startswith("p7-") for element in root.iter() if element.get("id"))
    styles = " ".join(element.get("style", "") for element in root.iter())
    assert figures.INK not in styles
    assert "currentColor" in styles


@pytest.mark.parametrize("name", ["日本", "_a", "a\nb\x00", "$x", ""])
def test_any_name_can_be_drawn(name):
    assert name[:1] != "_" or figures.short(name) == " _a"
    from qarmor.report.inputs import Curve

    history = {name: Curve((1.0, 2.0), (0.5, 0.0), (1.0,), (0.5,))}
    ET.fromstring(figures.training_figure(history, figures.styles([name])))
