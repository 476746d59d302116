"""The HTML report in a real browser, and that nothing from a file becomes markup."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data.road_network import RoadNetwork
from metrics.assessment import assess
from metrics.comparison import compare
from metrics.generated import GeneratedTrips, read_generated
from metrics.reference import Reference, Settings
from metrics.trips import Trips, read_real_trips
from report.document import Extras, Run, json_for_html, render, write_report
from report.inputs import LearningCurve, learning_curves
from report.sections import Dot, Dots, Point, Scatter, Section, Table

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,1000",
]
EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def city(parity_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(parity_city, tmp_path_factory.mktemp("data") / "city"))


@pytest.fixture(scope="module")
def folder(parity_dir: Path, city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two models, one with a hostile name, on two OD sources."""
    network = RoadNetwork.load(city)
    generated = read_generated(parity_dir / "generated.csv", network)
    settings = Settings(bootstrap=50)
    epochs = [{"epoch": float(i), "train_loss": 3.0 - i, "val_kl": 0.1 * i} for i in range(3)]
    curves = [LearningCurve("vanilla", epochs), LearningCurve(EVIL, epochs[:1])]
    runs, comparisons = [], []
    for source in ("test", "val"):
        reference = Reference.of(read_real_trips(city, source, network), network, settings)
        models = [
            assess("vanilla", generated, reference),
            assess(EVIL, _copy_of(reference.trips), reference),
        ]
        runs += [Run(model, source, curves) for model in models]
        comparisons.append(compare(models, source, 100))
    path = tmp_path_factory.mktemp("report")
    section = Section(
        "searches",
        f"Which search? {EVIL}",
        "Two sentences.",
        [Table("Searches", ["model", "ms"], [[EVIL, "1.0"]])],
        [Dots("Hausdorff", "km", [Dot(EVIL, 0.2, 0.1, 0.3)])],
        [Scatter("Quality", "ms", "km", [Point(EVIL, 1.0, 0.2), Point("b", 90.0, 0.1)], True)],
        [f"Warning of {EVIL}"],
    )
    extras = Extras([section], ["png", "svg", "pdf"])
    write_report(path, runs, comparisons, title=f"Report of {EVIL}", extras=extras)
    return path


def _copy_of(trips: Trips) -> GeneratedTrips:
    return GeneratedTrips(trips, np.zeros(len(trips), dtype=np.int64), None, None, None)


@pytest.fixture(scope="module")
def browser(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("Chromium and its driver (packages chromium, chromium-driver) are missing")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.get((folder / "report.html").as_uri())
        yield driver
    finally:
        driver.quit()


def script(browser: WebDriver, code: str, *arguments: Any) -> Any:
    return browser.execute_script(code, *arguments)


def wait_until(browser: WebDriver, condition: str) -> None:
    for _ in range(100):
        if script(browser, f"return Boolean({condition})"):
            return
        time.sleep(0.05)
    raise AssertionError(f"{condition} did not come true")


def test_page_is_one_file_that_asks_for_nothing_else(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:|#)", page)
    assert "default-src 'none'" in page
    assert page.count("</script>") == 2


def test_nothing_from_files_becomes_markup(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert EVIL not in page
    data = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert data is not None
    assert json.loads(data[1])["runs"][1]["model"] == EVIL


def test_whose_map_it_is_stands_below() -> None:
    assert "<footer>" not in render("title", {"attribution": ""})
    page = render("title", {"attribution": "© <b>mappers</b>"})
    assert "<footer>Roads: © &lt;b&gt;mappers&lt;/b&gt;</footer>" in page


def test_json_for_html_survives_every_text() -> None:
    for text in ("</script>", "<!--", "]]>", "\u2028", "&lt;", '"\\', "ä", "\ud800"):
        packed = json_for_html({"text": text})
        assert "<" not in packed and ">" not in packed and "&" not in packed
        assert json.loads(packed)["text"] == text


@pytest.mark.browser
def test_page_draws_without_errors_and_without_a_network(browser: WebDriver) -> None:
    wait_until(browser, "document.querySelectorAll('svg path').length > 8")
    assert browser.get_log("browser") == []
    assert script(browser, "return window.hacked") is None
    assert browser.title.startswith("Report of </script>")
    sent = [
        message["params"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    # The browser's own start page may still be asking for what it likes.
    own = [each["request"]["url"] for each in sent if each["documentURL"] == browser.current_url]
    assert own and all(url.startswith(("file:", "data:")) for url in own), own
    sections = script(
        browser, "return [...document.querySelectorAll('main section')].map((s) => s.id)"
    )
    assert sections == [
        "overview",
        "map",
        "distributions",
        "measures",
        "scenarios",
        "comparison",
        "curves",
        "searches",
    ]
    assert script(browser, "return document.querySelectorAll('#searches circle').length") == 3
    assert "Warning of" in script(browser, "return document.querySelector('#searches').innerText")


@pytest.mark.browser
def test_switches_change_what_is_shown(browser: WebDriver) -> None:
    def text(selector: str) -> str:
        return str(script(browser, f"return document.querySelector('{selector}').innerText"))

    def pixels() -> str:
        script(
            browser,
            "return new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)))",
        )
        return str(script(browser, "return document.querySelector('canvas').toDataURL()"))

    before, drawn = text(".panel"), pixels()
    script(browser, "document.querySelector('#next-trip').click()")
    assert text(".panel") != before and pixels() != drawn
    drawn = pixels()
    choose = (
        "const box = document.querySelector(arguments[0]); box.selectedIndex = arguments[1];"
        "box.dispatchEvent(new Event('change'))"
    )
    script(browser, choose, "#model-choice", 1)
    assert "script" in text(".map-legend") and pixels() != drawn
    drawn = pixels()
    script(browser, "document.querySelector('input[value=traffic]').click()")
    assert "too few generated" in text(".map-legend") and pixels() != drawn
    script(browser, "document.querySelector('input[value=trip]').click()")
    scenario = text("#scenarios table")
    script(browser, choose, "#scenario-measure", 2)
    assert text("#scenarios table") != scenario
    paths = "return document.querySelectorAll('#distributions svg path').length"
    count = script(browser, paths)
    script(browser, "document.querySelector('#distributions .legend button').click()")
    quantities = "return JSON.parse(document.getElementById('data').textContent).quantities.length"
    assert script(browser, paths) == count - script(browser, quantities)  # a curve of each
    overview = text("#overview table")
    script(browser, "document.querySelector('input[value=val]').click()")
    assert text("#overview table") != overview
    script(browser, "document.querySelector('#theme').click()")
    assert script(browser, "return document.documentElement.dataset.theme") == "dark"
    assert browser.get_log("browser") == []


@pytest.mark.browser
def test_hovering_shows_values_and_the_keyboard_works(browser: WebDriver) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    tooltip = "return document.querySelector('#tooltip').innerText"
    chart = browser.find_element(By.CSS_SELECTOR, "#distributions svg")
    ActionChains(browser).scroll_to_element(chart).move_to_element(chart).perform()
    assert "Trip distance" in script(browser, tooltip)
    by_mouse = script(browser, tooltip)
    script(browser, "arguments[0].focus()", chart)
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert script(browser, tooltip) != by_mouse
    canvas = browser.find_element(By.CSS_SELECTOR, "canvas")
    script(browser, "arguments[0].focus()", canvas)
    drawn = script(browser, "return arguments[0].toDataURL()", canvas)
    ActionChains(browser).send_keys("+", Keys.ARROW_LEFT).perform()
    time.sleep(0.1)
    assert script(browser, "return arguments[0].toDataURL()", canvas) != drawn
    script(browser, "document.querySelector('button[title=\"Show everything\"]').click()")
    hovered = script(
        browser,
        """
        const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect();
        canvas.scrollIntoView();
        for (let x = 0.3; x < 0.7; x += 0.01) {
          const at = canvas.getBoundingClientRect();
          canvas.dispatchEvent(new PointerEvent("pointermove",
            { clientX: at.left + x * at.width, clientY: at.top + at.height / 2 }));
          const tip = document.querySelector("#tooltip");
          if (!tip.hidden && tip.innerText.startsWith("Road")) return tip.innerText;
        }
        return "";
        """,
    )
    assert re.match(r"Road \d+", hovered) and "length" in hovered


def test_pictures_for_papers_are_written(folder: Path) -> None:
    names = {file.name for file in (folder / "plots").iterdir()}
    stems = [
        f"{kind}_{source}"
        for kind in ("distributions", "measures", "map")
        for source in ("test", "val")
    ]
    formats = ("png", "svg", "pdf")
    assert names == {f"{stem}.{kind}" for stem in (*stems, "learning_curves") for kind in formats}
    assert all((folder / "plots" / name).stat().st_size > 10_000 for name in names)
    assert (folder / "plots" / "measures_test.svg").read_text().startswith("<?xml")
    assert (folder / "plots" / "measures_test.pdf").read_bytes().startswith(b"%PDF")


def test_learning_curves_tolerate_what_they_cannot_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert learning_curves(tmp_path) == []
    file = tmp_path / "metrics.json"
    file.write_text("{broken")
    assert learning_curves(tmp_path) == []
    file.write_text('{"epochs": [{"epoch": 0, "val_kl": null, "train_loss": 2.5}, 3]}')
    (curve,) = learning_curves(tmp_path, "model")
    assert curve.epochs == [{"epoch": 0.0, "train_loss": 2.5}]
    (tmp_path / "log").mkdir()
    file.rename(tmp_path / "log" / "metrics.json")  # as a study keeps it
    assert learning_curves(tmp_path, "model") == [curve]
