"""The gallery page, in a real browser: it asks nothing of a network, filters, sorts, compares; and it stays light."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calotype.cli_report import report_main
from calotype.report import page as page_of_runs
from helpers import write_run

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
browser_tests = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver on this machine")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--window-size=1000,800"]  # fmt: skip


def picture(path: Path, side: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.RandomState(seed).randint(0, 255, (side // 4, side // 4, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    runs = tmp_path / "runs"
    for seed in (0, 1):
        for margin in (0.1, 0.2):
            folder = runs / f"{margin}-{seed}"
            write_run(folder, seed, {"test/eer": margin + 0.01 * seed}, "data.size=8", f"loss.margin={margin}", loss={"margin": margin})
            picture(folder / "images" / "roc.png", 64, seed)
            (folder / "metrics.csv").write_text("step,epoch,name,value\n0,0,train/loss,2.0\n9,0,train/loss,1.0\n9,0,val/eer,\n")
    restored = runs / "restored"
    write_run(restored, 0, {"psnr_at_stop": 30.0}, "dataset.clean=a</script><b>.png", task="dip")
    for i, name in enumerate(("comparison", "restored", "observed")):
        picture(restored / "images" / f"{name}.png", 200, i)
    for i in range(30):
        picture(restored / "images" / "film" / f"{i:05}.png", 64, i)
    write_run(runs / "failed", 2, {}, "data.size=8", "loss.margin=0.1", status="failed", loss={"margin": 0.1})
    out = tmp_path / "pages" / "page.html"
    report_main([str(runs), "--page", str(out)])
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def texts(browser, selector: str) -> list[str]:  # type: ignore[no-untyped-def]
    return [element.text for element in browser.find_elements("css selector", selector)]


@browser_tests
@pytest.mark.xdist_group("browser")
def test_page_in_a_browser(page: Path, browser) -> None:  # type: ignore[no-untyped-def]
    from selenium.webdriver.common.keys import Keys

    browser.get_log("performance")
    browser.get(page.as_uri())
    assert not [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    asked = [line["message"] for line in browser.get_log("performance") if '"Network.requestWillBeSent"' in line["message"]]
    assert not [line for line in asked if "http://" in line.replace("http://www.w3.org", "") or "https://" in line]
    assert len(texts(browser, "#cards li")) == 6
    assert browser.find_element("id", "count").text == "6 of 6"

    # Keys alone: / to the filter, words of it, Tab and Enter to a run, Escape back.
    body = browser.find_element("tag name", "body")
    body.send_keys("/")
    field = browser.switch_to.active_element
    assert field.get_attribute("id") == "filter"
    field.send_keys("margin=0.2 seed=1")
    assert browser.find_element("id", "count").text == "1 of 6"
    assert "test/eer 0.2100" in texts(browser, "#cards li")[0]
    assert texts(browser, "#cards .quiet") == ["loss.margin=0.2 seed=1"]  # without what all runs of its name have
    browser.find_element("css selector", "#cards .open").send_keys(Keys.ENTER)
    dialog = browser.find_element("id", "dialog")
    assert dialog.is_displayed()
    assert "calotype data.size=8 loss.margin=0.2 seed=1" in dialog.text
    assert "train/loss: 1.0000 to 2, steps 0 to 9" in dialog.text
    dialog.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()

    field.clear()
    field.send_keys("failed")
    assert browser.find_element("id", "count").text == "1 of 6"
    field.clear()
    field.send_keys(" ")
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", "sort")).select_by_visible_text("name")
    assert texts(browser, "#cards b")[0] == "dip/study"
    Select(browser.find_element("id", "sort")).select_by_visible_text("test/eer")
    order = [text for text in texts(browser, "#cards .words") if "test/eer" in text]
    assert [text.split()[-1] for text in order] == ["0.1000", "0.1100", "0.2000", "0.2100"]
    browser.find_element("id", "order").click()
    order = [text for text in texts(browser, "#cards .words") if "test/eer" in text]
    assert [text.split()[-1] for text in order] == ["0.2100", "0.2000", "0.1100", "0.1000"]

    # Two side by side.
    boxes = browser.find_elements("css selector", "#cards input")
    boxes[0].click()
    assert not browser.find_element("id", "compare").is_enabled()
    boxes[3].click()
    browser.find_element("id", "compare").click()
    assert "loss.margin 0.2 0.1" in dialog.text
    assert "test/eer 0.2100 0.1000 -0.1100" in dialog.text
    assert "second: roc" in dialog.text
    dialog.send_keys(Keys.ESCAPE)

    # A slider from what was observed to what was restored; a name that is markup stays a name.
    Select(browser.find_element("id", "task")).select_by_visible_text("dip")
    assert browser.find_element("id", "count").text == "1 of 6"
    browser.find_element("css selector", "#cards .open").click()
    assert "dataset.clean=a</script><b>.png" in dialog.text
    sides = [Select(one).first_selected_option.text for one in browser.find_elements("css selector", "#dialog select")]
    assert sides == ["observed", "restored"]
    over = browser.find_element("css selector", "#dialog .over")
    before = over.value_of_css_property("clip-path")
    browser.find_element("css selector", "#dialog input[type=range]").send_keys(Keys.ARROW_RIGHT)
    assert over.value_of_css_property("clip-path") != before
    assert "film" in dialog.text
    for image in browser.find_elements("css selector", "#dialog img"):
        assert browser.execute_script("return arguments[0].decode().then(() => arguments[0].naturalWidth)", image) > 0
    dialog.send_keys(Keys.ESCAPE)

    # A telephone: nothing reaches beyond the side.
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    light, dark = (
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        or browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    )
    assert light != dark


@browser_tests
@pytest.mark.xdist_group("browser")
def test_a_page_of_many_runs_is_light(tmp_path: Path, browser, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """100 runs in a fifth of the size stand for 500."""
    monkeypatch.setattr(page_of_runs, "WHOLE", page_of_runs.WHOLE // 5)
    for i in range(100):
        folder = tmp_path / "runs" / str(i)
        write_run(folder, i % 5, {"test/eer": i / 100}, f"loss.margin={i // 5}", loss={"margin": i // 5})
        for name in ("map", "roc", "mistakes"):
            picture(folder / "images" / f"{name}.png", 400, i)
    out = tmp_path / "page.html"
    report_main([str(tmp_path / "runs"), "--page", str(out)])
    assert out.stat().st_size < 5_000_000
    browser.get(out.as_uri())
    assert browser.find_element("id", "count").text == "100 of 100"
    loaded = browser.execute_script("return [...document.querySelectorAll('#cards img')].filter(image => image.src).length")
    assert 0 < loaded < 60  # those in sight, of 300
