"""Opens the page of the committed result in a headless browser: are its plots there and visible, is its console silent,
does it stay off the network? And pages of results that lack cells: do they say so?
Exit status 77, with the reason in the last line, where there is no browser."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "suite"), str(HERE.parent / "measure")]

import document  # noqa: E402
import matrix  # noqa: E402
import page  # noqa: E402
import record as records  # noqa: E402

RESULT = HERE.parent / "results/current.json"
DOCUMENT = HERE.parent.parent / "docs/performance.md"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_SECONDS = 90
MEASURE = """<script>addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("svg.plot")].map((plot) => {
    const box = plot.getBoundingClientRect();
    const inside = [...plot.querySelectorAll("rect, path, circle, text")].map((part) => part.getBoundingClientRect());
    return {name: plot.dataset.plot, width: box.width, height: box.height, parts: inside.length,
            outside: inside.filter((part) => part.right > box.right + 1 || part.left < box.left - 1 || part.bottom > box.bottom + 1).length};
  });
  const map = document.getElementById("heat-map").getBoundingClientRect();
  const answer = {boxes, map: [map.top, map.width, map.height], requests: performance.getEntriesByType("resource").map((e) => e.name)
                  .filter((name) => !name.startsWith("data:"))};
  document.body.innerHTML = "";
  const text = document.createElement("pre");
  text.id = "measured";
  text.textContent = JSON.stringify(answer);
  document.body.append(text);
});</script>"""


def browser():
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def open_page(text):
    """What MEASURE found in the page, and what the browser's console said."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "page.html")
        file.write_text(text.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
        command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1100,900", "--enable-logging=stderr",
                   "--v=0", f"--user-data-dir={folder}/profile", "--virtual-time-budget=5000", "--dump-dom", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BROWSER_SECONDS, check=False)
    found = re.search(r'<pre id="measured">(.*?)</pre>', done.stdout, re.DOTALL)
    if found is None:
        raise AssertionError(f"the browser gave no page: {done.stderr[-2000:]}")
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")), \
        [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@unittest.skipIf(browser() is None, "no chromium")
class InABrowser(unittest.TestCase):
    def test_the_committed_result_has_its_plots_and_no_errors(self):
        record = records.load(RESULT)
        found, console = open_page(page.render(record))
        self.assertEqual(console, [])
        self.assertEqual(found["requests"], [])
        names = {box["name"] for box in found["boxes"]}
        measured = {line["cell"] for line in record.lines if "figures" in line}
        self.assertTrue(measured)
        for cell in matrix.CELLS:
            if cell.name in measured and not cell.load_share:
                self.assertIn(f"bars-{cell.name}", names)
        for box in found["boxes"]:
            with self.subTest(plot=box["name"]):
                self.assertGreater(box["width"], 300)
                self.assertGreater(box["height"], 15)
                self.assertGreater(box["parts"], 3)
                self.assertEqual(box["outside"], 0)

    def test_the_heat_map_is_on_the_first_screen(self):
        found, _ = open_page(page.render(records.load(RESULT)))
        top, width, height = found["map"]
        self.assertLess(top, 450)
        self.assertGreater(width, 500)
        self.assertGreater(height, 100)

    def test_an_error_in_the_console_would_be_seen(self):
        _, console = open_page("<html><body><table id=heat-map></table><script>console.error('planted')</script></body></html>")
        self.assertEqual(len(console), 1)
        self.assertIn("planted", console[0])


class WithoutABrowser(unittest.TestCase):
    def test_the_tables_of_the_document_are_those_of_the_committed_result(self):
        text = DOCUMENT.read_text(encoding="utf-8")
        self.assertGreaterEqual(len(document.BLOCK.findall(text)), len(document.TABLES))
        self.assertTrue(document.fill(text, records.load(RESULT)) == text,
                        "docs/performance.md is not of perf/results/current.json: ./dev perf document perf/results/current.json")

    def test_a_plot_whose_cells_were_not_run_says_so(self):
        plan = {"cells": ["echo_64_1"], "servers": [], "rounds": 1, "seed": 1, "is_look": False}
        machine = {"date": "d", "commit": "c", "cpu": "x", "kernel": "k", "libraries": {}}
        line = {"cell": "echo_64_1", "server": "libuv", "pass": "time", "round": 0, "figures": {"server_cpu_us": 5.0}}
        text = page.render(records.Record({"weir_perf": 1, "plan": plan, "machine": machine}, [line]))
        self.assertIn('data-plot="bars-echo_64_1"', text)
        for missing in ("p99 µs against offered load", "cost against connections, echo alone", "cost against connections, beside 8,000 idle",
                        "idle connections, 9000", "user instructions per request", "fan-out, per delivery"):
            self.assertIn(f'not-run">Not measured in this run: {missing}', text)

    def test_names_from_a_result_are_escaped(self):
        plan = {"cells": ["echo_64_1"], "servers": [], "rounds": 1, "seed": 1, "is_look": False}
        machine = {"date": "d", "commit": "<script>", "cpu": "x", "kernel": "k", "libraries": {"<b>": "1"}}
        text = page.render(records.Record({"weir_perf": 1, "plan": plan, "machine": machine},
                                          [{"cell": "echo_64_1", "server": "<i>", "left_out": "<u>"}]))
        for tag in ("<script>", "<b>", "<i>", "<u>"):
            self.assertNotIn(tag, text)


if __name__ == "__main__":
    ran = unittest.main(exit=False)
    if ran.result.wasSuccessful() and browser() is None:
        print("no chromium here: the page was not opened")
        sys.exit(77)
    sys.exit(0 if ran.result.wasSuccessful() else 1)
