"""The page in headless Chromium: no errors, no requests, the keyboard, narrow and dark."""

import shutil
from pathlib import Path

import pytest

from qarmor.report.tables import DASH

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip("no chromium on this machine (looked on the PATH and for /usr/bin/chromium)")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, written):
    """Opens the page; at the end there must have been no error and no request but for the page and its data."""
    contexts, troubles = [], []

    def open_page(width=1280, scheme="light", javascript=True):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=javascript)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url[:100]}"))
        page.on(
            "request", lambda request: None if request.url == url or request.url.startswith("data:") else troubles.append(f"asked for {request.url}")
        )
        page.goto(url)
        return page

    url = (written / "index.html").as_uri()
    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def _shown(page):
    return page.locator("[data-panel]:visible").evaluate_all("all => all.map(one => [one.dataset.attack, one.dataset.eps])")


def test_loads(visit, evil_name):
    page = visit()
    assert page.title() == "Robustness of <b>digits</b>"
    assert page.locator("h2").count() == 8
    assert page.locator("img").evaluate_all("all => all.every(one => one.naturalWidth === 8)")
    assert page.locator("svg.plot text", has_text="qvc<script>").count() > 0


def test_selector_by_keyboard(visit):
    page = visit()
    assert _shown(page) == [["pgd-loss-margin", "0.1"]]
    page.get_by_role("combobox", name="eps", exact=True).focus()
    page.keyboard.press("ArrowDown")
    assert _shown(page) == [["pgd-loss-margin", "0.3"]]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    assert _shown(page) == [["fgsm-loss-ce", "0.3"]]


def test_rows_sort_and_filter_by_keyboard(visit):
    page = visit()
    values = "all => all.map(one => one.cells[6].textContent)"
    page.get_by_role("button", name="value").focus()
    page.keyboard.press("Enter")
    numbers = [float(v) for v in page.locator("#rows tbody tr").evaluate_all(values) if v != DASH]
    assert numbers == sorted(numbers)
    page.keyboard.press("Enter")
    assert page.locator("#rows th[aria-sort=descending]").inner_text().startswith("value")
    numbers = [float(v) for v in page.locator("#rows tbody tr").evaluate_all(values) if v != DASH]
    assert numbers == sorted(numbers, reverse=True)
    page.get_by_label("Show rows with").fill("fgsm fooling")
    assert page.locator("#rows tbody tr:visible").count() == 4 * 4 * 4
    assert page.locator("#count").inner_text() == "64 of 388 rows shown"


@pytest.mark.parametrize("width", [390, 1280])
def test_no_sideways_scroll(visit, width):
    page = visit(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_theme(visit, scheme, dark):
    page = visit(scheme=scheme)
    ground = "rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    ink = page.evaluate("getComputedStyle(document.querySelector('.plots svg text')).fill")
    assert ink == ("rgb(227, 231, 236)" if dark else "rgb(31, 35, 40)")


def test_without_javascript(visit):
    page = visit(javascript=False)
    assert page.locator("[data-panel]:visible").count() == 1
    assert page.locator(".choose:visible").count() == 0
    assert page.get_by_text("Without JavaScript only one attack and eps is shown").is_visible()


def test_focus_can_be_seen(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
