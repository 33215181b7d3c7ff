"""Pages in a real Chromium: no console error, no overflow, quick to open, accessible.

The rules of accessibility are those of axe-core, which is no part of the suite. AXE_CORE is the
path of its axe.min.js (from `npm pack axe-core`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest
from records import create_events, create_record, create_speed_events

from oneflow_bench.bench.record.events import BlockEvent
from oneflow_bench.bench.report.page.dashboard import Row, render_dashboard
from oneflow_bench.bench.report.page.render import render_record

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("AXE_CORE")
LIGHT, DARK = 1, 0
LONGEST_S = 1.0
LONG_NAME = "graph-with-" + "a-very-long-name-" * 6
PROBE = """
addEventListener("load", async () => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  await new Promise((done) => setTimeout(done, 300));
  const page = document.documentElement;
  parent.postMessage({
    overflow: page.scrollWidth - page.clientWidth, width: innerWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    drawn: document.querySelectorAll(".plot canvas").length,
    violations: window.axe ? (await axe.run()).violations.map((one) => [one.impact, one.id]) : [],
  }, "*");
});
"""
FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<iframe width="%d" height="900" srcdoc="%s"></iframe><pre></pre><script>
addEventListener("message", (e) => {
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = "FOUND" + JSON.stringify(e.data);
});</script>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed here"),
]


def browse(folder, page, scheme=LIGHT, waits=True):
    """The document after the scripts ran, and the lines on the console."""
    file = folder / "framed.html"
    file.write_text(page)
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    flags += ["--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}"]
    flags += [f"--blink-settings=preferredColorScheme={scheme}", "--window-size=2700,1000"]
    flags += ["--virtual-time-budget=20000"] if waits else []
    done = subprocess.run(
        [CHROMIUM, *flags, file.as_uri()], capture_output=True, text=True, timeout=120
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def look(folder, page, width, scheme, axe=""):
    """The readings of a page in a frame of so many pixels."""
    probed = page.replace("</body>", f"<script>{axe}</script><script>{PROBE}</script></body>")
    shown, console = browse(folder, FRAME % (width, escape(probed)), scheme)
    found = re.search(r"FOUND(\{.*?\})</pre>", shown, re.S)
    assert found, shown[-500:]
    return {**json.loads(unescape(found.group(1))), "console": console}


@pytest.fixture(scope="module")
def pages():
    names = ("eager", LONG_NAME)
    sides = [create_events(name, 0.1, noise=0.02, loss_shift=1e-7 * len(name)) for name in names]
    record = create_record(*sides, max_abs=1e-8, more=create_speed_events())
    row = Row(run="r" * 60, status="failed", error="no room " * 40, pair=LONG_NAME)
    return {"run": render_record(record, []), "dashboard": render_dashboard([row, row])}


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_a_page_fits_its_screen_and_reports_no_error(pages, tmp_path, width, scheme):
    for name, page in pages.items():
        found = look(tmp_path, page, width, scheme)
        assert found["width"] == width and found["dark"] == (scheme == DARK)
        assert found["overflow"] <= 0, name
        assert found["console"] == []
        assert found["drawn"] == (7 if name == "run" else 0)


@pytest.mark.skipif(AXE is None, reason="AXE_CORE does not name axe.min.js")
@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_axe_finds_nothing(pages, tmp_path, scheme):
    axe = Path(str(AXE)).read_text(encoding="utf-8").replace("</script", "<\\/script")
    for page in pages.values():
        assert look(tmp_path, page, 1280, scheme, axe)["violations"] == []


def test_a_run_of_a_million_steps_opens_within_a_second(tmp_path):
    losses = (2.0 + np.random.RandomState(0).rand(1_000_000)).tolist()
    sides = []
    for name in ("eager", "graph"):
        first, *rest = create_events(name)
        block = next(event for event in rest if type(event) is BlockEvent)
        long = block.model_copy(update={"losses": losses, "steps": len(losses)})
        sides.append([first, long, rest[-1]])
    timer = "<script>addEventListener('load', () => { document.title = performance.now(); })"
    page = render_record(create_record(*sides), [])
    page = page.replace("</body>", f"{timer}</script></body>")
    times = []
    for _ in range(3):  # other load can only make it slower
        shown, _ = browse(
            tmp_path, page.replace("</body>", f"{timer}</script></body>"), waits=False
        )
        times.append(float(re.search(r"<title>([\d.]+)</title>", shown).group(1)) / 1e3)
    assert min(times) < LONGEST_S


def test_the_dashboard_is_sorted_and_filtered(tmp_path):
    rows = [Row(run=name, status="complete") for name in ("b", "c", "a")]
    click = """<script>addEventListener("load", () => {
      document.querySelector(".sortable th button").click();
      const order = [...document.querySelectorAll("tbody th")].map((one) => one.textContent);
      const input = document.querySelector("input");
      input.value = "B";
      input.dispatchEvent(new Event("input"));
      order.push(document.querySelector("th").ariaSort);
      order.push(document.querySelector("tbody tr:not([hidden]) th").textContent);
      document.title = order.join("");
    });</script></body>"""
    shown, console = browse(tmp_path, render_dashboard(rows).replace("</body>", click), waits=False)
    assert "<title>abcascendingb</title>" in shown and console == []
