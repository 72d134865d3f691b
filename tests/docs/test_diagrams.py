"""The documentation's diagrams are what the networks are now."""

import importlib.util
import re

from tests.docs import pages


def test_the_files_are_what_would_be_drawn_now():
    path = pages.DOCS.parent / "dev" / "draw_diagrams.py"
    found = importlib.util.spec_from_file_location("draw_diagrams", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    drawn = module.drawn()
    assert {path.name for path in module.FOLDER.iterdir()} == set(drawn)
    for name, text in drawn.items():
        assert (module.FOLDER / name).read_text(encoding="utf-8") == text, f"{name} is stale: python dev/draw_diagrams.py"


def test_the_page_shows_each_and_types_no_numbers_that_they_have():
    text = (pages.DOCS / "architectures.md").read_text()
    shown = re.findall(r"\]\(diagrams/([\w-]+\.svg)\)", text)
    assert sorted(shown) == sorted(path.name for path in (pages.DOCS / "diagrams").iterdir())
    for number in ("6,000", "962,314", "11,175,370", "7,800"):
        assert number not in text
