"""The report page in a real browser, offline: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import pages
from pages import Written

_CHROMIUM = shutil.which("chromium")
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_N = 400
_ON_A_PAGE = 6

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def path(page_of_400: Written) -> Path:
    """The page of two models on 400 examples; the caption of one is a script."""
    return page_of_400.path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(path: Path, chromium: Browser) -> Iterator[Page]:
    """The page, opened without a network; fails on an error, a dialog, or a request for anything but the file."""
    context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda request: _is_own(request.url, path) or wrong.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert wrong == []
    context.close()


def _is_own(url: str, path: Path) -> bool:
    return url.startswith("data:") or url.partition("#")[0] == path.as_uri()


def _shown(page: Page) -> str:
    return page.locator(".count-shown").inner_text()


def _column(page: Page, table: int, column: int) -> list[str]:
    return page.locator("table.sortable").nth(table).locator(f"tbody tr td:nth-child({column})").all_inner_texts()


def test_it_opens_offline_without_an_error_or_a_request(page: Page) -> None:
    assert page.title() == "photos · compbench"
    assert page.locator("h2").count() == 5  # four questions and the list of keys
    page.screenshot()  # everything was drawn


def test_400_examples_make_no_more_rows_than_a_page_of_them(page: Page) -> None:
    assert _shown(page) == "400 examples"
    assert page.locator(".card").count() == _ON_A_PAGE
    assert page.locator(".card img").count() == 2 * _ON_A_PAGE
    assert page.evaluate("document.querySelectorAll('*').length") < 5000
    page.get_by_role("button", name="next →").click()
    assert page.locator(".card").count() == _ON_A_PAGE
    assert page.locator(".card").first.get_attribute("data-id") == "0006"
    assert page.locator(".card img").count() == 2 * _ON_A_PAGE


def test_tables_sort(page: Page) -> None:
    heading = page.locator("table.sortable").first.locator("thead button").nth(2)
    assert [text.split("\n")[0] for text in _column(page, 0, 2)] == ["scores", "errors", "random chance"]
    heading.click()
    values = [float(text.split()[0]) for text in _column(page, 0, 3)]
    assert values == sorted(values, reverse=True)
    assert values[0] == 74.8  # 299 of 400, the tie is wrong
    heading.click()
    *models, chance = values  # random chance is no model, and stays below them
    assert [float(text.split()[0]) for text in _column(page, 0, 3)] == [*models[::-1], chance]
    assert page.locator("table.sortable").first.locator("th[aria-sort=ascending]").count() == 1


def test_filters_filter(page: Page) -> None:
    page.get_by_label("which of two models is right").select_option(label="errors right, scores wrong")
    chosen = [i for i in range(_N) if i % 3 != 0 and (i % 4 == 0 or i == 5)]
    assert _shown(page) == f"{len(chosen)} of 400 examples"
    assert page.locator(".card").first.get_attribute("data-id") == f"{chosen[0]:04d}"
    page.get_by_label("tag", exact=True).select_option("Relation")
    some = [i for i in chosen if i % 3 == 1]
    assert _shown(page) == f"{len(some)} of 400 examples"
    page.get_by_label("search").fill("CAT 100")
    assert _shown(page) == "1 of 400 examples"
    page.get_by_text("drop filters").click()
    assert _shown(page) == "400 examples"
    page.get_by_text("outcome of each model, margin, order").click()
    page.get_by_label("outcome of scores").select_option("tied")
    assert [_shown(page), page.locator(".card").get_attribute("data-id")] == ["1 of 400 examples", "0005"]


def test_margins_filter_and_order(page: Page) -> None:
    page.get_by_text("outcome of each model, margin, order").click()
    page.get_by_label("whose margin").select_option("scores")
    page.get_by_label("margin from").fill("4.5")
    assert _shown(page) == f"{sum(i % 4 != 0 and i % 5 == 4 for i in range(_N))} of 400 examples"
    page.get_by_label("margin from").fill("")
    page.get_by_label("order", exact=True).select_option("near")
    assert page.locator(".card").first.get_attribute("data-id") == "0005"


def test_an_agreement_count_leads_to_its_examples(page: Page) -> None:
    row = page.locator("section[id$=who] table", has_text="only A").first.locator("tbody tr", has_text="group, n 400")
    count = row.locator("a.count").nth(1)  # only A
    n = count.inner_text()
    count.click()
    assert _shown(page) == f"{n} of 400 examples"
    assert page.get_by_label("which score decides").input_value() == "group"
    assert page.get_by_label("which of two models is right").input_value() == "0:right,1:wrong"


def test_keys_move(page: Page) -> None:
    def chosen() -> str | None:
        assert page.locator(".card.is-chosen").count() == 1
        return page.locator(".card.is-chosen").get_attribute("data-id")

    page.keyboard.press("j")
    assert chosen() == "0000"
    for key in ("j", "ArrowRight", "ArrowDown", "k", "ArrowUp", "j"):
        page.keyboard.press(key)
    assert chosen() == "0002"
    for _ in range(_ON_A_PAGE):
        page.keyboard.press("j")
    assert chosen() == "0008"  # over the end of a page
    assert page.locator(".pager span").inner_text() == "page 2 of 67"
    page.keyboard.press("/")
    page.keyboard.type("dog 399")
    assert _shown(page) == "1 of 400 examples"
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    assert _shown(page) == "400 examples"
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_an_example_has_an_address(page: Page, path: Path) -> None:
    page.locator(".card-id").nth(3).click()
    assert page.url == f"{path.as_uri()}#task=photos&id=0003"
    page.goto(f"{path.as_uri()}#task=photos&id=0333")
    assert page.locator(".card.is-chosen").get_attribute("data-id") == "0333"
    assert page.locator(".card.is-chosen").is_visible()


def test_a_caption_that_is_a_script_is_shown_not_run(page: Page, path: Path) -> None:
    page.goto(f"{path.as_uri()}#task=photos&id=0007")
    assert page.locator(".card.is-chosen .captions li").first.inner_text().endswith(pages.NASTY)
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0


def test_light_and_dark_follow_the_system_and_the_button(page: Page) -> None:
    def paper() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert dark != light
    page.locator("#theme").click()
    assert paper() == light
    page.keyboard.press("t")
    assert paper() == dark


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints_with_everything_unfolded(page: Page) -> None:
    assert page.locator("main details:not([open])").count() > 2
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main > article > section > details:not([open])").count() == 0
    page.emulate_media(media="print")
    assert not page.locator(".filters").is_visible()
    assert page.locator(".card").count() == _ON_A_PAGE
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details:not([open])").count() > 2


def test_one_table_of_several_is_shown_and_chosen(page_of_eight: Written, chromium: Browser) -> None:
    page = chromium.new_page()
    page.goto(page_of_eight.path.as_uri())
    squares = page.locator("section[id$=who] .choice")
    assert squares.count() == 12  # three metrics, overall and three tags
    assert [squares.nth(n).is_visible() for n in range(12)].count(True) == 1
    page.get_by_label("score", exact=True).first.select_option("text")
    page.get_by_label("examples", exact=True).first.select_option("Relation")
    shown = page.locator("section[id$=who] .choice:visible")
    assert [shown.get_attribute("data-metric"), shown.get_attribute("data-tag")] == ["text", "Relation"]
    count = shown.locator("a.count").first
    n = int(re.search(r"; (\d+) examples", count.locator("..").get_attribute("title") or "")[1])  # pyright: ignore[reportOptionalSubscript]
    count.click()
    assert _shown(page) == f"{n} of 60 examples"
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("n_models", [2, 8])
def test_axe_finds_nothing(
    page_of_400: Written, page_of_eight: Written, chromium: Browser, n_models: int, theme: Literal["light", "dark"]
) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    context = chromium.new_context(color_scheme=theme, viewport={"width": 1280, "height": 900}, bypass_csp=True)
    page = context.new_page()
    page.goto((page_of_400 if n_models == 2 else page_of_eight).path.as_uri())
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    for is_open in (False, True):
        page.evaluate(
            "open => document.querySelectorAll('main details').forEach((each) => (each.open = open))", is_open
        )
        found = page.evaluate("axe.run()")["violations"]
        assert [(rule["id"], node["target"], node["failureSummary"]) for rule in found for node in rule["nodes"]] == []
    context.close()
