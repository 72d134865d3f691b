"""The site is built without a warning, needs no network to be read, and describes every public name."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import pages

ROOT = pages.DOCS.parent
REFERENCE = "\n".join(path.read_text() for path in sorted((pages.DOCS / "reference").glob("*.md")))
PACKAGES = (
    "qarmor.attacks",
    "qarmor.circuits",
    "qarmor.data",
    "qarmor.evaluation",
    "qarmor.evaluation.detection",
    "qarmor.models",
    "qarmor.testing",
    "qarmor.training",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    for name in ("mkdocs", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra: docs)")
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return target


def test_every_page_is_there_and_reads_without_a_network(site: Path) -> None:
    built = sorted(site.rglob("*.html"))
    assert len(built) >= len(list(pages.DOCS.rglob("*.md")))
    for page in built:
        text = page.read_text()
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=[\"']?(?:https?:)?//[^\"' >]+", text)
        fetched += [link for link in re.findall(r"<link[^>]*>", text) if re.search(r"href=[\"']?(?:https?:)?//", link) and "canonical" not in link]
        assert not fetched, f"{page.name}: {fetched}"
        assert "$`" not in text
        assert "```" not in re.sub(r"<(pre|code).*?</\1>", "", text, flags=re.DOTALL), page.name


def test_links_and_pictures_lead_somewhere(site: Path) -> None:
    """Also those to files that are no pages, which the builder does not follow."""
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for link in re.findall(r"(?:href|src)=\"([^\"#?]+)", page.read_text()):
            if not re.match(r"[a-z]+:|//", link):
                assert (page.parent / link).exists(), f"{page.relative_to(site)} links to {link}"


def test_formulas_became_mathml(site: Path) -> None:
    text = (site / "mathematics.html").read_text()
    assert text.count("<math") == (pages.DOCS / "mathematics.md").read_text().count("```math")
    assert "\\frac" not in text
    assert "\\mathrm" not in text


def test_expectations_are_not_taken_for_tags(site: Path) -> None:
    text = (site / "reference/circuits.html").read_text()
    assert "&lt;Z_0&gt;, ..., &lt;Z_{readouts-1}&gt;" in text
    for page in pages.DOCS.rglob("*.md"):
        prose = re.sub(r"^```.*?^```$|`[^`]+`|^    .*?$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert not (tag := re.search(r"<[A-Za-z/]\S*", prose)), f"{page.name}: put {tag[0]} into backticks"


def test_signatures_and_arguments_are_shown(site: Path) -> None:
    text = (site / "reference/attacks.html").read_text()
    assert 'id="qarmor.attacks.PGD"' in text
    assert "random_start" in text
    pair = text.split('id="qarmor.attacks.Pair"')[1].split('id="qarmor.attacks.')[0]
    for argument in ("first", "second"):  # one entry of the docstring, two of the page
        assert re.search(rf"<code>{argument}</code>|<b>{argument}</b>", pair), pair


def test_every_kind_of_section_is_described() -> None:
    kinds = re.findall(r"^    kind: Literal\[\"([\w-]+)\"\]$", (ROOT / "qarmor/studies/sections.py").read_text(), re.MULTILINE)
    described = re.findall(r"^\| `([\w-]+)` \|", (pages.DOCS / "studies.md").read_text(), re.MULTILINE)
    assert sorted(kinds) == sorted(described)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_described(package: str) -> None:
    named = set(re.findall(r"^::: ([\w.]+)$", REFERENCE, re.MULTILINE))
    short = {name.rsplit(".", 1)[-1] for name in named if name.startswith(package)}
    missing = set(importlib.import_module(package).__all__) - short
    assert not missing, f"add to docs/reference: {sorted(missing)}"


def test_every_described_name_exists_and_has_a_docstring() -> None:
    for path in re.findall(r"^::: ([\w.]+)$", REFERENCE, re.MULTILINE):
        module, name = path.rsplit(".", 1)
        thing = getattr(importlib.import_module(module), name)
        assert not callable(thing) or thing.__doc__, path
