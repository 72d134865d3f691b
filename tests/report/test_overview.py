"""Overviews: read with care, drawn with the numbers that were read, names escaped, legible on a phone."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from qarmor import report
from qarmor.report import diagrams
from qarmor.report.drawing import LIGHT, Drawing, fit
from qarmor.report.inputs import load_directory
from qarmor.report.overview import Circuit, Layered, Stage
from qarmor.report.overview_view import who_judges
from tests.report import chromium
from tests.report.conftest import ATTACKS, CLASSES, EVIL, EVIL_SET, Maker

SVG = "{http://www.w3.org/2000/svg}"


def chain(qubits):
    return tuple((q, q + 1) for q in range(qubits - 1))


def circuit(network="qvc", qubits=10, layers=200, classes=3, **more):
    counts = {
        "parameters": 3 * qubits * layers + 1,
        "angles": 3 * qubits * layers,
        "gates": (4 * qubits - 1) * layers,
        "gates_per_layer": 4 * qubits - 1,
    }
    rest = {"encoding_gates": 2 ** (qubits + 1) - 3, "pairs": chain(qubits), "padding": "end", "scale": 64.0, "learns_scale": True}
    return Circuit(network=network, shape=(1, 8, 8), classes=classes, qubits=qubits, layers=layers, **counts | rest | more)


LAYERED = Layered(
    network="conv<script>",
    name="ConvNet",
    shape=(1, 8, 8),
    classes=3,
    parameters=1_234_567,
    layers=2,
    stages=(
        Stage("convolution", 1, 3, 1, None, 640, ("ReLU", "2x2 max pool"), (64, 4, 4)),
        Stage("block", 2, 3, 2, 2, 1_000_000, (), (128, 2, 2)),
        Stage("linear", 1, None, None, None, 233_927, (), (3,)),
    ),
)


def texts(drawing):
    return [element.text for element in ET.fromstring(drawing.as_file()).iter(f"{SVG}text")]


@pytest.mark.parametrize(("qubits", "layers", "classes"), [(1, 0, 1), (2, 7, 2), (10, 200, 10), (12, 500, 2), (14, 1000, 3)])
def test_a_circuit_has_its_wires_gates_and_numbers(qubits, layers, classes):
    one = circuit(qubits=qubits, layers=layers, classes=classes)
    drawing = diagrams.circuit([one])
    said = texts(drawing)
    assert (said.count("|0⟩"), said.count("Rot"), said.count("⟨Z⟩")) == (qubits, qubits + 1, classes)  # one Rot explains what it is
    assert said.count("not read") == qubits - classes
    assert {f"{layers:,} times", f"{layers:,} layers, {3 * qubits * layers:,} angles"} <= set(said)
    assert f"{(4 * qubits - 1) * layers:,} gates; scale 64, learned from there" in said
    assert f"{4 * qubits - 1} gates a layer; encoding {2 ** (qubits + 1) - 3:,} gates" in said
    assert "64 pixels \N{RIGHTWARDS ARROW} " + f"{2**qubits:,}" in " ".join(said) or qubits < 3
    dots = [(c.get("cx"), c.get("cy")) for c in ET.fromstring(drawing.as_file()).iter(f"{SVG}circle")][:-2]
    heights = sorted({float(y) for _, y in dots})
    assert [(heights.index(float(a[1])), heights.index(float(b[1]))) for a, b in zip(dots[::2], dots[1::2], strict=True)] == list(chain(qubits))


def test_circuits_that_differ_in_depth_share_a_drawing():
    said = texts(diagrams.circuit([circuit("a", layers=200), circuit("b", layers=1000, scale=5.0, learns_scale=False)]))
    assert "200 or 1,000 times" in said
    assert {"a", "b", "200 layers, 6,000 angles", "1,000 layers, 30,000 angles", "39,000 gates; scale 5, fixed"} <= set(said)


def test_a_layered_network_has_its_stages_and_numbers():
    said = texts(diagrams.layered(LAYERED))
    assert [words.replace("\N{MULTIPLICATION SIGN}", "x") for words in said] == [
        *("ConvNet", "2 layers, 1,234,567 parameters", "image", "1 x 8 x 8"),
        *("3x3 convolution, 64 maps", "ReLU, 2x2 max pool", "64 x 4 x 4 · 640 parameters"),
        *("2 residual blocks, 128 maps, stride 2", "two 3x3 convolutions and a shortcut each", "128 x 2 x 2 · 1,000,000 parameters"),
        *("fully connected, 3 units", "3 values · 233,927 parameters"),
    ]


def test_parameters_outside_of_layers_are_said():
    bare = Layered("quadratic", "Quadratic", (64,), 3, 12_288, 0, ())
    assert "12,288 parameters elsewhere" in texts(diagrams.layered(bare))


def test_judges_are_named_and_words_fall_where_they_belong():
    named = {"classical": ["conv", "res"], "quantum": ["qvc"]}
    classical, quantum = (texts(who_judges(named, kind)) for kind in named)
    assert [w for w in classical if w in ("white box", "transfer", "defence", "converse")] == ["white box", "transfer", "defence"]
    assert [classical[classical.index(word) - 2] for word in ("white box", "transfer", "defence")] == ["conv", "res", "qvc"]
    assert [quantum[quantum.index(word) - 2] for word in ("white box", "transfer", "converse")] == ["qvc", "another network", "conv"]
    assert "quantum network" in texts(who_judges({"classical": ["conv"], "quantum": []}, "quantum"))


def test_a_drawing_is_escaped_cut_and_has_its_colours():
    drawing = Drawing(50, 20, "a <b> & c", "var(--ink) var(--nonsense)")
    drawing.text(0, 10, "<script>" * 9, room=50)
    drawing.box(0, 0, 5, 5, "quantum", "card")
    file = drawing.as_file()
    root = ET.fromstring(file)
    assert root.find(f"{SVG}title").text == "a <b> & c"
    assert root.find(f"{SVG}text").text == fit("<script>" * 9, 50, 11.5) == "<scrip…"
    assert "var(--nonsense)" in file
    assert LIGHT["quantum"] in file
    assert not re.search(r"<script|fill:var|stroke:var", file)
    assert "var(--quantum)" in drawing.on_page("x")
    assert 'aria-labelledby="x-t"' in drawing.on_page("x")


# The section


def described(one):
    value = {name: getattr(one, name) for name in one.__dataclass_fields__}
    if isinstance(one, Layered):
        stages = [{name: getattr(stage, name) for name in stage.__dataclass_fields__} for stage in one.stages]
        return value | {"form": "stages", "stages": stages}
    return value | {"form": "circuit"}


@pytest.fixture
def results(tmp_path):
    """An overview of two data sets, one grey and one in colour, with names that would break a careless page."""
    maker = Maker(tmp_path / "results", attacks={"pgd": ATTACKS["pgd"]})
    maker.clean_rows(EVIL_SET, "clean", 20)
    entries = []
    for number, dataset in enumerate(maker.datasets):
        images = maker.images(dataset, 4)
        name = f"arrays/pictures-{number}.npz"
        np.savez_compressed(maker.folder / name, images=images, clean=images[:1], adversarial=np.clip(images[:1] + 0.1, 0, 1))
        example = {"index": 17, "label": 1, "before": 1, "after": 2 - number}
        entries.append({"dataset": dataset, "labels": [0, 1, 2, 0], "example": example, "arrays": name})
    nets = [LAYERED, circuit(EVIL), circuit("qvc500", layers=500)]
    architectures = [{"dataset": dataset, **described(one)} for dataset in maker.datasets for one in nets]
    common = {"source": "conv<script>", "attack": "pgd", "eps": 0.1, "architectures": architectures}
    return maker.write([maker.section("fig1", "overview", item="Fig 1", entries=entries, **common)])


def change(folder, edit):
    path = folder / "results.json"
    value = json.loads(path.read_text())
    edit(value["sections"][0])
    path.write_text(json.dumps(value))


def test_it_is_read_as_it_was_written(results):
    (section,) = load_directory(results).sections
    assert (section.body.source, section.body.attack, section.body.eps) == ("conv<script>", "pgd", 0.1)
    assert [one.images.shape for one in section.body.pictures] == [(4, 1, 8, 8), (4, 3, 32, 32)]
    assert [one for _, one in section.body.architectures][:3] == [LAYERED, circuit(EVIL), circuit("qvc500", layers=500)]


def test_the_page(results):
    page = report.write(results).read_text()
    root = page.split('<h2 id="fig1">')[1].split("</section>")[0]
    assert "<script>" not in root
    assert root.count('class="diagram"') == 4, "both data sets share the diagrams of their networks"
    assert root.count("<img") == 2 * 4 + 2 * 3
    assert f"{EVIL_SET.replace('<', '&lt;').replace('>', '&gt;')}, cifar2</h4>" in root
    assert "conv&lt;script&gt; is fooled" in root
    assert "conv&lt;script&gt; is not fooled" in root
    assert "5 times as strong" in root
    assert [CLASSES[0] in root, "tw&#34;o &amp; $3$" in root] == [True, True]
    for word in ("1,234,567 parameters", "200 or 500 times", "white box", "converse"):
        assert word in root
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for path in (results / "figures").glob("fig1_*.svg"):
        assert ET.parse(path).getroot().find(f"{SVG}desc").text


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s["architectures"][0].update(form="cube"), r"sections\[0\]\.architectures\[0\]\.form should be circuit or stages, got 'cube'"),
        (lambda s: s["architectures"][1].update(qubits=99), r"sections\[0\]\.architectures\[1\]: 3 readouts of 99 qubits \(at most 64\) with pairs "),
        (lambda s: s["architectures"][1].update(pairs=[[1, 10]]), r"architectures\[1\]: 3 readouts of 10 qubits .* with pairs \[\(1, 10\)\]"),
        (lambda s: s["architectures"][1].update(classes=11), r"architectures\[1\]: 11 readouts of 10 qubits"),
        (lambda s: s["architectures"][0].update(stages=[{}] * 65), r"architectures\[0\]\.stages should be 64 at most, got 65"),
        (lambda s: s["architectures"][0]["stages"][0].update(out=[]), r"architectures\[0\]\.stages\[0\]\.out should be a shape, got \(\)"),
        (lambda s: s["architectures"][0].update(shape=[]), r"architectures\[0\]\.shape should be a shape, got \(\)"),
        (lambda s: s["entries"][0].update(labels=[0, 1, 2, 3]), r"sections\[0\]\.entries\[0\]: label 3 with 3 classes"),
        (lambda s: s["entries"][0].update(labels=[0]), r"images should be 1 images of one shape, got \(4, 1, 8, 8\)"),
        (lambda s: s["entries"][0].update(arrays=None), r"entries\[0\]\.arrays should be the name of a file, got nothing"),
        (lambda s: s.update(source=None), r"sections\[0\]\.source should be text that is not empty, got nothing"),
    ],
)
def test_what_it_should_not_be_is_said_in_one_line(results, edit, message):
    change(results, edit)
    with pytest.raises(ValueError, match=message) as raised:
        load_directory(results)
    assert "\n" not in str(raised.value)


def test_nothing_finished_yet(results):
    change(results, lambda s: s.update(entries=[], architectures=[], status="partial"))
    page = report.write(results).read_text()
    for words in ("no pictures finished yet, or these data are no images", "no attacked image yet", "no network described yet"):
        assert f"Missing: {words}." in page


@pytest.fixture
def browser():
    yield from chromium.launched()


@pytest.fixture
def visit(browser, results):
    yield from chromium.visits(browser, report.write(results))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_and_all_is_large_and_dark_enough(visit, scheme):
    page = visit(width=390, scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    drawn = page.evaluate(LOOK)
    assert len(drawn) > 80
    for words, inside, size, ink in drawn:
        assert inside, words
        assert size >= 9.5, words
        ground = (20, 23, 27) if scheme == "dark" else (255, 255, 255)
        assert contrast([int(part) for part in re.findall(r"\d+", ink)[:3]], ground) >= 4.5, words


LOOK = """[...document.querySelectorAll('.diagram')].flatMap(svg => [...svg.querySelectorAll('text')].map(text => {
  const [a, b, style] = [text.getBoundingClientRect(), svg.getBoundingClientRect(), getComputedStyle(text)];
  const inside = a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
  return [text.textContent, inside, parseFloat(style.fontSize) * b.width / svg.viewBox.baseVal.width, style.fill];
}))"""


def contrast(first, second):
    """As WCAG counts it."""

    def light(colour):
        parts = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(first), light(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)
