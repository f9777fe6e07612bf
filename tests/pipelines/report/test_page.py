"""The page of the report: hostile text, the documented commands, and a real browser."""

import json
import re
import shlex
import xml.etree.ElementTree as ET
from glob import glob
from pathlib import Path

import pytest

from pipelines.cli import main as bots
from tests.pipelines.browser import CHROMIUM, browser
from tests.pipelines.small_run import make_run

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "report.md"
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to show the page in; apt install chromium"
)


def test_hostile_text_stays_data(page):
    text = page.read_text()
    assert text.count("<script") == 2, "the data and the page's own script"
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL).group(1)
    assert "<" not in data
    assert "\u202e" not in data
    assert "@DATA@" in json.dumps(json.loads(data)["runs"][0]["cards"])
    assert not re.search(r'(src|href)="https?://', text)


def test_commands_of_the_page_in_the_documentation_run(tmp_path, monkeypatch, capsys):
    for name in ("lab", "demo/bots", "demo/random", "seeds/a", "seeds/b"):
        folder, _, last = name.rpartition("/")
        make_run(tmp_path / "runs" / folder, name=last, steps=2)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^    bots ((?:report|watch) [^#\n]*)", DOCUMENTATION.read_text(), re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        # Like a shell: patterns expand to the paths they match.
        words = [path for word in shlex.split(command) for path in sorted(glob(word)) or [word]]
        assert bots(words) == 0, capsys.readouterr().err
    assert (tmp_path / "runs" / "lab" / "report.html").exists()


@needs_chromium
def test_page_in_a_browser(page, tmp_path):
    with browser(tmp_path / "profile") as shown:
        shown.open(page)
        assert "owned" not in shown.value("document.title")
        assert shown.value("document.querySelectorAll('img').length") == 0
        figures = "[...document.querySelectorAll('figure')]"
        assert shown.value(f"{figures}.every((f) => f.querySelector('svg') || f.querySelector('.missing'))")
        # A constant whose values differ by rounding has one tick; without end, they would fill the memory.
        assert shown.value("ticks(0.3, 0.30000000000000004, 5)") == [0.3]
        assert shown.value("ticks(0, 0.3, 3)") == pytest.approx([0, 0.1, 0.2, 0.3])
        # Long labels keep what tells them apart; a small share is not shown as none.
        names = "['a-long-name-lam=0.1-rho=0.1-seed=0', 'a-long-name-lam=0.2-rho=0.1-seed=0']"
        assert shown.value(f"shortened({names}, 20)") == ["…lam=0.1…", "…lam=0.2…"]
        assert shown.value("[percent(0.5), percent(4e-6, 3), percent(0, 3)]") == ["50%", "< 0.001%", "0.000%"]
        # Sorting: by belief, descending, then ascending.
        rows = "[...document.querySelectorAll('#tasks-table tbody tr')]"
        heads = "[...document.querySelectorAll('#tasks-table th button')]"
        press = f"{heads}.find((b) => b.textContent === 'belief').click()"
        beliefs = f"{rows}.map((row) => Number(row.lastChild.textContent))"
        shown.value(press)
        falling = shown.value(beliefs)
        shown.value(press)
        rising = shown.value(beliefs)
        assert falling == sorted(falling, reverse=True)
        assert rising == sorted(rising)
        assert rising[0] < falling[0]
        # Filtering: by part of the id.
        shown.value("document.getElementById('task-filter').focus()")
        shown.call("Input.insertText", text="LAB/MATH")
        found = shown.value(f"{rows}.map((row) => row.firstChild.textContent)")
        assert found
        assert all(task.startswith("lab/math/") for task in found)
        # Another x-axis, another run.
        switch = "[...document.querySelectorAll('#learning .switch button')]"
        shown.value(f"{switch}.find((b) => b.textContent === 'tokens').click()")
        assert "generated tokens" in shown.value("document.querySelector('#learning svg').textContent")
        choose = "s.value = 3, s.dispatchEvent(new Event('change'))"
        shown.value(f"((s) => ({choose}))(document.getElementById('run'))")
        assert shown.value("document.querySelector('.which').textContent") == "random-1"
        # Hide a line by its legend; read the values at a point with the keyboard.
        lines = "document.querySelectorAll('#learning figure svg path').length"
        before = shown.value(lines)
        shown.value("document.querySelector('#learning .legend button').click()")
        assert shown.value(lines) < before
        shown.value("document.querySelector('#learning svg rect[tabindex]').focus()")
        tip = "document.querySelector('.tip').textContent"
        last = shown.value(tip)
        shown.press("ArrowLeft")
        assert shown.value(tip) != last
        assert "generated tokens" in last
        # A figure saved for a paper contains its colours.
        keep = "URL.createObjectURL = (blob) => (window.saved = blob, make(blob))"
        shown.value(f"((make) => {{ {keep}; }})(URL.createObjectURL)")
        shown.value("document.querySelector('#learning .save').click()")
        picture = shown.value("await window.saved.text()")
        assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
        assert "stroke:rgb(194, 87, 26)" in picture
        assert [url for url in shown.requests if not url.startswith(("file:", "data:", "blob:null/"))] == []
        assert shown.complaints == []


@needs_chromium
def test_page_in_dark_on_a_phone_and_on_paper(page, tmp_path):
    background = "getComputedStyle(document.body).backgroundColor"
    with browser(tmp_path / "profile") as shown:
        shown.open(page)
        light = shown.value(background)
        shown.open(page, dark=True)
        dark = shown.value(background)
        assert light != dark
        for expected in (light, dark):  # auto → light → dark
            shown.value("document.getElementById('theme').click()")
            assert shown.value(background) == expected
        shown.open(page, width=390, height=800)
        assert shown.value("document.documentElement.scrollWidth") <= 390, (
            "nothing sticks out of a phone's screen"
        )
        shown.screenshot(tmp_path / "phone.png")
        assert shown.pdf(tmp_path / "page.pdf").startswith(b"%PDF")
        assert shown.complaints == []
