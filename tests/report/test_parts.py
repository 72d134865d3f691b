"""Tables, words, claims, pixels and figures on their own."""

import base64
import io
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from qarmor.evaluation import FLAGS
from qarmor.report import claims, figures, pixels, svg, tables
from qarmor.report.inputs import AttackInfo, Curve, Verdict, load_directory
from qarmor.report.summary import caution, is_control, summary
from qarmor.report.tables import DASH, Book, contrast, duration, flag_counts, listed, number, quantity, shade, slugs
from qarmor.types import Rows


def _book(results):
    found = load_directory(results)
    rows = [row for row in found.rows if row.dataset == "cifar2/test"]
    return Book("cifar2", rows, found.network_names, found.attacks.values()), found


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
    assert counts["transfer-beats-white-box"] == 2 * 2 * 2
    assert counts["zero-gradient"] == 0
    assert counts["made-up-flag"] == 8


def test_attacks_have_the_studys_labels_in_its_order(results):
    book, found = _book(results)
    assert [attack.label for attack in book.attacks] == ["PGD (ce)", "PGD (margin)"]
    assert book.reference_attack.label == "PGD (margin)"
    assert book.reference_eps == 0.1
    turned = Book("cifar2", book.rows, [], reversed(found.attacks.values()))
    assert [attack.label for attack in turned.attacks] == ["PGD (margin)", "PGD (ce)"]


def test_unknown_attacks_are_named_by_what_tells_them_apart(results):
    rows = _book(results)[0].rows
    assert [attack.label for attack in Book("cifar2", rows, []).attacks] == ["pgd (loss ce)", "pgd (loss margin)"]
    more = [replace(row, parameters={"loss": "ce", "steps": 7}) for row in rows if row.source]
    assert "pgd (loss ce, steps 7)" in [attack.label for attack in Book("cifar2", [*rows, *more], []).attacks]
    same = [AttackInfo(str(i), "pgd", {"loss": loss, "steps": 40}, "PGD") for i, loss in enumerate(("ce", "margin"))]
    assert [attack.label for attack in Book("cifar2", rows, [], same).attacks] == ["PGD no. 1", "PGD no. 2"]


def test_repeated_rows_are_ignored_and_other_seeds_counted(results):
    rows = _book(results)[0].rows
    assert Book("cifar2", [*rows, *_book(results)[0].rows], []).unseen == 0
    again = [replace(row, seed=9) for row in rows if row.source]
    assert Book("cifar2", [*rows, *again], []).unseen == len(again)


def test_curves_start_with_the_clean_row_of_the_same_images(results):
    rows = [row for row in _book(results)[0].rows if (row.eps if row.source else row.n == 360)]
    book = Book("cifar2", rows, [])
    assert [row.eps for row in book.curve(book.attacks[0], "convnet", "convnet")] == [0.05, 0.1, 0.3]
    same = Book("cifar2", [*rows, *(replace(row, n=120) for row in rows if not row.source)], [])
    assert [row.eps for row in same.curve(same.attacks[0], "convnet", "convnet")] == [0.0, 0.05, 0.1, 0.3]


def test_transfer_tables_show_the_clean_row_of_the_same_images(results):
    book, _ = _book(results)
    assert {row.n for panel in tables.panels(book, book.attacks[0]) for _, row in panel.clean} == {120}


def test_summary_tells_the_numbers(results, evil_name):
    book, found = _book(results)
    text = " ".join(summary(book, found))
    assert "4 networks, trained on 1437 images of cifar2, were attacked on 120 images of cifar2 with PGD (ce) and PGD (margin)" in text
    assert f"Accuracy on clean images: {evil_name} 0.92, convnet 0.99, _linear 0.94 and quadratic 0.95" in text
    assert "commonest class would score 0.10" in text
    row = book.find(book.reference_attack, "convnet", "quadratic", 0.1)
    assert f"those made on convnet halve _linear (to 0.34) and quadratic (to {row.value:.2f})" in text


def test_summary_gives_the_majority_of_the_images_that_it_speaks_of(results):
    book, found = _book(results)
    rows = [replace(row, majority=0.1 if row.n == 360 else 0.3) for row in book.rows if row.metric == "accuracy"]
    assert "commonest class would score 0.10" in " ".join(summary(Book("cifar2", rows, []), found))


def test_caution_names_the_controls(results, evil_name):
    text = " ".join(caution(*_book(results)))
    assert "Nothing here is a quantum advantage that a linear or quadratic classical model shows as well" in text
    assert f"Under attacks made on convnet, {evil_name} keeps 0.47; level with it or above: quadratic (0.42)." in text


def test_caution_without_controls_or_quantum_networks(results):
    book, found = _book(results)
    without = Book("cifar2", [row for row in book.rows if row.target != "quadratic"], [])
    assert "No classical control" in caution(without, found)[0]
    assert "not about a quantum advantage" in caution(Book("cifar2", [row for row in book.rows if row.target == "convnet"], []), found)[0]


def test_controls_by_name():
    names = ("linear", "quadratic^.1", "Linear-2", "linearised", "qvc", "mlp")
    assert [name for name in names if is_control(name)] == ["linear", "quadratic^.1", "Linear-2"]


def _verdicts(words):
    """Verdicts of claim c on data set d in a variant, from ``{("c", "d"): "variant:word ..."}``."""
    found = []
    for (claim, dataset), text in words.items():
        for pair in text.split():
            variant, _, word = pair.partition(":")
            found.append(Verdict(claim, "text", dataset, variant, word.replace("_", " "), (), "holds", "", ""))
    return found


def test_matrix_keeps_order_and_leaves_out_what_was_not_measured():
    found = claims.matrix(
        _verdicts({("1", "b"): "tuned:holds linear:fails", ("1", "a"): "tuned:not_measured", ("2", "b"): "linear:holds tuned:fails"})
    )
    assert (found.datasets, found.unmeasured, found.variants) == (("b",), ("a",), ("tuned", "linear"))
    assert [[verdict.variant for verdict in claim.verdicts] for claim in found.claims] == [["tuned", "linear"]] * 2
    assert claims.counts(found) == [("tuned", [1, 1, 0, 0]), ("linear", [1, 1, 0, 0])]


def test_claims_summary_names_what_controls_show_as_well():
    words = {
        ("1", "mnist"): "tuned:holds paper:fails linear:holds quadratic:holds",
        ("1", "cifar2"): "tuned:holds paper:holds linear:fails quadratic:fails",
        ("4", "mnist"): "tuned:holds paper:undecided linear:fails quadratic:undecided",
        ("5", "mnist"): "tuned:fails paper:holds linear:not_measured quadratic:holds",
        ("14", "mnist"): "tuned:holds paper:holds",
    }
    text = " ".join(claims.summary(claims.matrix(_verdicts(words))))
    for wanted in (
        "4 claims on mnist and cifar2, each on each counted once. Variant tuned: of 5, 4 hold, 1 fails, none is undecided; 0 not measured.",
        "Between tuned and paper the verdict turns, from holds to fails or back, for 1 (mnist) and 5 (mnist).",
        "With linear in the quantum network's place, of the 3 that hold in variant tuned and were tried so, 1 holds as well: 1 (mnist).",
        "With quadratic in the quantum network's place, of the 3 that hold in variant tuned and were tried so, 1 holds as well: 1 (mnist).",
        "What holds in variant tuned and fails with every control: 1 (cifar2); a reason to look further, not a proof.",
        "What holds in variant tuned and was tried with no control, 1 in all: 14 (mnist).",
        "What linear or quadratic shows as well is no quantum advantage.",
    ):
        assert wanted in text


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("tuned:not_measured linear:not_measured", "None of the 1 claims was measured yet."),
        ("tuned:holds paper:holds", "No classical control was put in the quantum network's place"),
        ("linear:holds", "Variant linear: of 1, 1 holds"),
        ("tuned:fails linear:fails", "Nothing that holds in variant tuned was measured with linear"),
    ],
)
def test_claims_summary_at_the_edges(words, wanted):
    assert wanted in " ".join(claims.summary(claims.matrix(_verdicts({("1", "mnist"): words}))))


def test_small_words():
    assert [listed(x) for x in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a, b and c"]
    assert [duration(s) for s in (None, 3.21, 73.8, 7300)] == ["not recorded", "3.2 s", "1 min 14 s", "2 h 1 min"]
    assert [number(v) for v in (None, math.nan, 0.5)] == [DASH, DASH, "0.500"]
    assert [quantity(v) for v in (None, "", "about 10^6", 6001.0, 0.25, 12345.6)] == [DASH, DASH, "about 10^6", "6,001", "0.25", "12,346"]
    assert slugs(["a/b", "a b", "ü", "ü"], ["x"]) == ["a-b", "a-b-2", "x-2", "x-3"]


def test_perturbation_colours():
    perturbation = np.array([[[-0.1, 0.0, 0.1, 0.2]]], dtype=np.float32)
    ends = [pixels.DARKER, pixels.EVEN, pixels.BRIGHTER, pixels.BRIGHTER]
    assert _pixels(pixels.perturbation_url(perturbation, 0.1))[0].tolist() == [list(colour) for colour in ends]
    colour = np.stack([perturbation[0], 0 * perturbation[0], -perturbation[0]])
    assert _pixels(pixels.perturbation_url(colour, 0.1))[0, :3].tolist() == [[0, 128, 255], [128, 128, 128], [255, 128, 0]]


def test_images_keep_their_pixels():
    image = np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 3, 4)
    assert np.abs(_pixels(pixels.image_url(image)) / 255 - image[0]).max() <= 0.5 / 255 + 1e-6
    assert _pixels(pixels.image_url(np.repeat(image, 3, 0))).shape == (3, 4, 3)


def test_styles_differ():
    found = list(figures.styles([str(i) for i in range(30)]).values())
    assert len({(style.colour, str(style.dash)) for style in found}) == 30
    assert len({style.marker for style in found[:7]}) == 7


def test_seeds_of_a_network_share_a_style():
    looks = figures.network_styles(["a", "b", "a (seed 1)", "b (seed 12)", "(seed 1)"])
    assert looks["a"] == looks["a (seed 1)"] != looks["b"] == looks["b (seed 12)"]
    assert len(set(looks.values())) == 3


def _sheet(results):
    book, _ = _book(results)
    return figures.accuracy_sheet(book, book.attacks[0], book.sources, figures.styles(book.networks))


def test_figures_ignore_the_users_settings(results, monkeypatch):
    import matplotlib

    before = _sheet(results)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "path")
    assert _sheet(results) == before
    assert matplotlib.rcParams["font.size"] == 30


def test_panels_follow_the_theme_and_keep_text(results):
    sheet = _sheet(results)
    roots = [ET.fromstring(one) for one in svg.panels(sheet, "p7", ["said <aloud>", "b", "c", "d"])]
    assert [root.get("viewBox").split()[2:] for root in roots] == [["237.6", "187.2"]] * 4, "all of one size"
    assert roots[0].find("title").text == "said <aloud>"
    assert "made on qvc<script>alert(1)</sc…" in [text.text for text in roots[0].iter("text")]
    for i, root in enumerate(roots):
        ids = {element.get("id") for element in root.iter() if element.get("id")}
        assert all(name.startswith(f"p7-{i}-") for name in ids)
        wanted = {reference for one in root.iter() for name in ("href", "clip-path") for reference in re.findall(r"#([\w-]+)", one.get(name, ""))}
        assert wanted
        assert wanted <= ids, "each panel brings what it refers to"
        lines = [element.get("data-line") for element in root.iter() if element.get("data-line")]
        assert sorted(lines) == [str(number) for number in range(4) for _ in ("band", "line")]
        styles = " ".join(element.get("style", "") for element in root.iter())
        assert svg.INK not in styles
        assert "currentColor" in styles
        assert "DejaVu" not in styles


def test_one_panel_is_drawn_for_each_source(results):
    book, _ = _book(results)
    titles = [
        text.text for text in ET.fromstring(_sheet(results).svg).iter("{http://www.w3.org/2000/svg}text") if (text.text or "").startswith("made on")
    ]
    assert titles == [f"made on {svg.short(source, 24)}" for source in book.sources]


@pytest.mark.parametrize("name", ["日本", "_a", "a\nb\x00", "$x", "", "long " * 40])
def test_any_name_can_be_drawn(name):
    assert name[:1] != "_" or svg.short(name) == " _a"
    sheet = figures.training_sheet(name, {name: Curve((1.0, 2.0), (0.5, 0.0), (), ())}, figures.styles([name]))
    ET.fromstring(sheet.svg)
    assert len(svg.panels(sheet, "p", [name, name])) == 2


def test_rows_are_found_by_key(results):
    found = load_directory(results)
    assert {row.key for row in found.rows} == set(found.by_key)
    assert len(Rows(found.by_key["clean-0"])) == 4
