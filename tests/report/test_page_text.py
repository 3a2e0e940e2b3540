"""Text of runs stays text on the page: in the file, and in a real browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from calotype.cli_report import report_main
from calotype.report import page as page_module
from calotype.report.markup import content_security_policy, fill, script_json, text
from calotype.report.page import thinned
from helpers import write_run

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
HOSTILE = [
    "<!--<script>",
    "</script><script>window.ran = 1</script>",
    "--></script><img src=x onerror=window.ran=2>",
    '"><img src=x onerror="window.ran=3">',
    "' onmouseover='window.ran=4' x='",
    "{{runs}}",
    "{{policy}}{{tables}}",
    "<!-- tables -->/* runs */",
    "javascript:window.ran=5",
    "${window.ran=6}",
    "`);window.ran=7;//",
    "\u2028window.ran=8\u2029",
    "</td></table><iframe srcdoc='<script>parent.ran=9</script>'>",
    "<style>*{display:none}</style>",
    "__proto__",
    "constructor",
    "\\u003cscript>window.ran=10//",
    "]]><svg onload=window.ran=11>",
    "a\x00b\x1b[31m",
]


def hostile_run(folder: Path, string: str, seed: int) -> None:
    """A run with the string in every text that a page reads."""
    write_run(
        folder,
        seed,
        {f"test/{string}": 0.5, string: 0.25},
        f"loss.x={string}",
        task=string,
        name=string,
        loss={"x": string, string: string},
    )
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    record |= {
        "error": string,
        "alarms": [string],
        "choices": {string: string},
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "images").mkdir()
    name = string.replace("/", "-").replace("\x00", "")
    Image.new("RGB", (8, 8)).save(folder / "images" / f"{name}.png")
    with (folder / "metrics.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "epoch", "name", "value"])
        rows.writerows([0, 0, f"train/{string}".replace("\x00", ""), i] for i in range(2))


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for i, string in enumerate(HOSTILE):
        hostile_run(folder / "runs" / str(i), string, i)
    report_main([str(folder / "runs"), "--page", str(folder / "page.html")])
    return folder / "page.html"


def test_a_template_is_filled_in_one_pass() -> None:
    assert fill("{{a}} {{b}}", {"a": "{{b}}", "b": "{{a}}"}) == "{{b}} {{a}}"
    with pytest.raises(KeyError):
        fill("{{c}}", {})


@pytest.mark.parametrize("string", HOSTILE)
def test_json_in_a_script_element_is_the_same_text_without_markup(string: str) -> None:
    written = script_json({string: [string]})
    assert json.loads(written) == {string: [string]}
    assert not set(written) & set("<>&\u2028\u2029")


def test_text_that_is_no_unicode_is_shown_escaped() -> None:
    assert text("a\udc80<b>") == "a\\udc80&lt;b&gt;"


def test_the_policy_allows_the_page_s_own_code_alone() -> None:
    policy = content_security_policy("<style>a</style><script type='application/json'>x</script><script>b</script>")
    # printf a | openssl dgst -sha256 -binary | base64, and of b
    assert "style-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='" in policy
    assert "script-src 'sha256-PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3PurtWcAJ0='" in policy
    assert "unsafe" not in policy


def test_a_long_name_does_not_stretch_the_page_s_lists() -> None:
    """A metric of 120 letters made the list of what to sort by as wide as the page."""
    template = (Path(page_module.__file__).parent / "page.html").read_text()
    assert "select { max-width: 16rem; }" in template


def test_thinned_curves_keep_their_ends_and_extremes() -> None:
    points = [(i, 1.0) for i in range(1000)]
    points[501], points[777], points[999] = (501, 9.0), (777, -9.0), (999, 2.0)
    few = thinned(points, 60)
    assert {points[0], points[501], points[777], points[999]} <= set(few)
    assert len(few) <= 63
    assert few == sorted(few)
    assert thinned([(3, 0.5)]) == [(3, 0.5)]


def test_a_shared_page_holds_no_path_host_or_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    write_run(
        tmp_path / "runs" / "a",
        0,
        {"test/eer": 0.1},
        "dataset.root=/home/grace/My photos/faces",
        dataset={"root": "/home/grace/My photos/faces"},
    )
    record = json.loads((tmp_path / "runs" / "a" / "run.json").read_text())
    record |= {
        "host": "alonzo",
        "cwd": "/home/grace/work",
        "error": "/srv/secret/x.png: on alonzo by ada, see ~/notes and C:\\Users\\ada\\x.txt",
    }
    (tmp_path / "runs" / "a" / "run.json").write_text(json.dumps(record))
    write_run(
        tmp_path / "runs" / "b",
        0,
        {"test/eer": 0.1},
        "dataset.root=/mnt/disk/faces",
        dataset={"root": "/mnt/disk/faces"},
    )
    report_main([str(tmp_path / "runs"), "--page", "page.html", "--share"])
    page = Path("page.html").read_text()
    shown = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    for secret in (
        "/home",
        "grace",
        "alonzo",
        "/srv",
        "secret",
        "notes and",
        "/mnt",
        str(tmp_path),
        "Users",
    ):
        assert secret.replace("notes and", "~/notes") not in shown, secret
    assert not re.search(r"\bada\b", shown)
    assert "\\u2026/x.png" in shown
    assert "…/faces" in shown  # in the table
    with pytest.raises(SystemExit):
        report_main([str(tmp_path / "runs"), "--share"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("selenium", reason="selenium is not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--window-size=1000,800",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver on this machine")
@pytest.mark.xdist_group("browser")
def test_no_script_of_a_run_is_run(hostile_page: Path, browser: Any) -> None:
    browser.get(hostile_page.as_uri())
    assert browser.find_element("id", "count").text == f"{len(HOSTILE)} of {len(HOSTILE)}"
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []

    # Every run opened, and two compared: all that the page makes of their texts.
    dialogs = browser.execute_script(
        "return [...document.querySelectorAll('#cards li')].map(card => { card.querySelector('.open').click();"
        "return [card.dataset.run, document.getElementById('dialog').textContent]; })"
    )
    for run, dialog in dialogs:
        string = HOSTILE[int(order(hostile_page)[int(run)])]
        assert dialog.count(string) >= 6, (
            string,
            dialog,
        )  # title, override, error, alarm, metrics, settings
    browser.execute_script(
        "document.getElementById('dialog').close();"
        "const boxes = document.querySelectorAll('#cards input'); boxes[0].click(); boxes[1].click();"
        "document.getElementById('compare').click()"
    )
    both = browser.execute_script("return document.getElementById('dialog').textContent")
    assert all(HOSTILE[int(order(hostile_page)[int(run)])] in both for run, _ in dialogs[:2])
    tables = browser.execute_script("return document.querySelector('details.tables').textContent")
    assert all(string.replace("\x00", "\\x00").replace("\x1b", "\\x1b") in tables for string in HOSTILE)

    assert browser.execute_script("return window.ran") is None
    assert browser.execute_script("return document.querySelectorAll('iframe, script, style').length") == 3
    assert browser.execute_script("return document.querySelectorAll('[onerror], [onload], [onmouseover]').length") == 0


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver on this machine")
@pytest.mark.xdist_group("browser")
def test_the_policy_stops_what_was_put_into_the_page(hostile_page: Path, browser: Any, tmp_path: Path) -> None:
    attacked = hostile_page.read_text().replace(
        "<main>",
        "<main><script>window.ran = 1</script><img src=x onerror='window.ran = 2'><p id=styled style='color: red'>x</p>",
    )
    (tmp_path / "attacked.html").write_text(attacked)
    browser.get((tmp_path / "attacked.html").as_uri())
    assert browser.find_element("id", "count").text.startswith(str(len(HOSTILE)))  # the page's own script is run
    assert browser.execute_script("return window.ran") is None
    browser.get_log("browser")


def order(page: Path) -> list[str]:
    """The folders' names of a page's runs, in its order."""
    (data,) = re.findall(r'<script type="application/json" id="runs">(.*?)</script>', page.read_text(), flags=re.S)
    return [Path(run["folder"]).name for run in json.loads(data)]


def test_the_page_s_config_is_the_run_s(hostile_page: Path) -> None:
    (data,) = re.findall(
        r'<script type="application/json" id="runs">(.*?)</script>',
        hostile_page.read_text(),
        flags=re.S,
    )
    for run in json.loads(data):
        assert yaml.safe_load(run["config"])["name"] == run["name"]
