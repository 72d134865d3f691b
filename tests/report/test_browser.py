"""The page in headless Chromium: no errors, no requests, the keyboard, narrow and dark."""

import pytest

from tests.report import chromium


@pytest.fixture(scope="module")
def browser():
    yield from chromium.launched()


@pytest.fixture
def visit(browser, written):
    yield from chromium.visits(browser, written / "index.html")


def test_loads(visit):
    page = visit()
    assert page.title() == "Robustness of <b>digits</b>"
    assert page.locator("h2").count() == 19
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    page.locator("img").evaluate_all("all => Promise.all(all.map(one => one.decode()))")
    assert page.locator("img").evaluate_all("all => all.every(one => one.naturalWidth === 8 || one.naturalWidth === 32)")
    assert page.locator("svg.plot text", has_text="qvc<script>").count() > 0


def test_parts_open_and_close_by_keyboard(visit):
    page = visit()
    parts = page.locator("section[aria-labelledby=fig2] details.part")
    assert parts.evaluate_all("all => all.map(one => one.open)") == [True, False]
    page.locator("section[aria-labelledby=fig2] .status button").focus()
    page.keyboard.press("Enter")
    assert parts.evaluate_all("all => all.map(one => one.open)") == [True, True]
    assert page.locator("section[aria-labelledby=fig2] .status button").inner_text() == "Close all"
    page.keyboard.press("Enter")
    assert parts.evaluate_all("all => all.map(one => one.open)") == [False, False]


def test_a_link_opens_the_part_that_it_leads_to(visit):
    page = visit()
    target = page.locator("#fig2_cifar2")
    assert page.locator("details.part", has=target).evaluate("one => one.open") is False
    page.evaluate("location.hash = '#fig2_cifar2'")
    page.wait_for_function("document.getElementById('fig2_cifar2').closest('details').open")


def test_numbers_of_a_claim_are_there_on_demand(visit):
    page = visit()
    numbers = page.get_by_role("region", name="Numbers of claim 4", exact=True)
    assert not numbers.is_visible()
    page.get_by_text("numbers of claim 4", exact=True).click()
    assert numbers.is_visible()


def test_legend_fades_the_other_lines(visit):
    page = visit()
    figure = page.locator("section[aria-labelledby=fig2] figure").first
    figure.get_by_role("button", name="convnet").focus()
    page.keyboard.press("Enter")
    faded = figure.locator(".plots [data-line]").evaluate_all("all => all.map(one => [one.dataset.line, one.classList.contains('faded')])")
    assert {(line, hidden) for line, hidden in faded} == {("0", True), ("1", False), ("2", True), ("3", True)}
    page.keyboard.press("Enter")
    assert figure.locator(".faded").count() == 0


def test_tables_sort_by_keyboard(visit):
    page = visit()
    table = page.get_by_role("region", name="Networks on cifar2")
    table.get_by_role("button", name="parameters").focus()
    values = "all => all.map(one => parseFloat(one.cells[4].textContent.replace(',', '')))"
    for order in (False, True):
        page.keyboard.press("Enter")
        numbers = table.locator("tbody tr").evaluate_all(values)
        assert numbers == sorted([1800, 3600, 5400, 7200], reverse=order)
    assert table.locator("th[aria-sort=descending]").inner_text().startswith("parameters")


@pytest.mark.parametrize("width", [390, 1280])
def test_no_sideways_scroll(visit, width):
    page = visit(width)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
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
    assert page.locator("button").count() == 0
    summaries = page.locator("section[aria-labelledby=fig2] details.part > summary")
    summaries.nth(1).click()
    assert page.locator("#fig2_cifar2").is_visible()
    assert page.locator("section[aria-labelledby=fig2] details.part").nth(1).locator(".plots").first.is_visible()


def test_focus_can_be_seen(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
