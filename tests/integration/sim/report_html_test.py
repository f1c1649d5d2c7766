# SPDX-License-Identifier: Apache-2.0
"""Looks at report.html in a browser, as its readers do.

usage: report_html_test.py PROGRAM SCREENSHOTS

Screenshots are left in the folder SCREENSHOTS, for people. Exits with 77, which
CTest takes for skipped, where there is no Chromium.
"""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import chromium

PROGRAM = None
SCREENSHOTS = None
SKIPPED = 77
HOSTILE_NAME = "<script>window.hacked=1<!--<b>&amp;.csv"
POLICIES = ["contiguous-max", "contiguous-oracle", "paged-16", "paged-64",
            "paged-256", "concat"]


def write_trace(path):
    """Short requests for a small pool, so that all policies queue."""
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    lines += [f"2023-11-16 18:00:{i // 10:02}.{i % 10}000000,"
              f"{20 + i * 37 % 300},{10 + i * 53 % 200}" for i in range(300)]
    path.write_text("\n".join(lines))


def simulate(folder, trace):
    subprocess.run(
        [PROGRAM, "sim", "--trace", trace, "--model", "opt-13b", "--num-blocks",
         "300", "--max-seq-len", "1024", "--policies", ",".join(POLICIES),
         "--out", folder / "out"], check=True, cwd=folder,
        stdout=subprocess.DEVNULL)


class ReportHtmlTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        write_trace(cls.folder / HOSTILE_NAME)
        simulate(cls.folder, HOSTILE_NAME)
        cls.page = cls.folder / "out/report.html"
        cls.report = json.loads((cls.folder / "out/report.json").read_text())
        cls.browser = chromium.Browser(chromium.find(),
                                       cls.folder / "profile")
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.browser.media()
        self.browser.resize(1280, 900)
        self.open(self.page)

    def open(self, page):
        self.browser.open(page.as_uri())

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])

    def js(self, expression):
        return self.browser.evaluate(expression)

    def text(self, selector):
        return self.js(f"document.querySelector({json.dumps(selector)})"
                       ".textContent")

    def screenshot(self, name):
        self.browser.screenshot(SCREENSHOTS / f"{name}.png")

    def test_it_asks_for_nothing_but_itself(self):
        self.assertEqual(len(self.browser.requests()), 1)
        sections = self.js("[...document.querySelectorAll('section')]"
                           ".map((each) => each.id)")
        self.assertEqual(sections, ["verdict", "summary", "causes",
                                    "memory-map", "course", "batch",
                                    "block-size", "requests"])
        self.screenshot("light")

    def test_a_hostile_trace_name_stays_text(self):
        self.assertEqual(self.report["inputs"]["trace"]["name"], HOSTILE_NAME)
        self.assertIn(HOSTILE_NAME, self.text("h1"))
        self.assertIn(HOSTILE_NAME, self.text("#verdict .facts"))
        self.assertIn(HOSTILE_NAME, self.js("document.title"))
        self.assertEqual(self.js("typeof window.hacked"), "undefined")
        self.assertEqual(self.js("document.querySelectorAll('b').length"), 0)

    def test_the_policy_of_the_page_refuses_other_scripts(self):
        self.js("""(() => {
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          document.body.append(script);
          document.body.insertAdjacentHTML(
            "beforeend", "<img src=x onerror='window.hacked = 1'>");
        })()""")
        self.assertEqual(self.js("typeof window.hacked"), "undefined")
        refused = self.browser.complaints()
        self.assertTrue(refused)
        for complaint in refused:
            self.assertIn("Content Security Policy", complaint)
        self.open(self.page)

    def test_the_verdict_and_the_table_are_those_of_the_report(self):
        results = self.report["results"]
        gain = max(result["capacity_gain"] for result in results.values())
        self.assertIn(f"{gain:.1f} times", self.text(".verdict"))
        rows = self.js("""[...document.querySelectorAll("#summary tbody tr")]
          .map((row) => [...row.children].map((cell) => cell.textContent))""")
        self.assertEqual([row[0] for row in rows], POLICIES)
        for row in rows:
            result = results[row[0]]
            self.assertEqual(row[6], f"{result['batch']['mean']:.2f}")
            self.assertEqual(row[2],
                             f"{result['paper_pct']['reserved']['mean']:.1f}")

    def test_every_chart_has_its_table(self):
        figures = self.js("""[...document.querySelectorAll("figure")].map(
          (figure) => [figure.querySelectorAll("canvas").length,
                       figure.querySelectorAll("details").length])""")
        self.assertGreater(len(figures), 8)
        self.assertTrue(all(figure == [1, 1] for figure in figures), figures)
        self.browser.click("#causes details summary")
        self.browser.wait_for(
            "document.querySelector('#causes details table') !== null")
        rows = self.js("""[...document.querySelectorAll(
          "#causes details tbody tr")].map(
          (row) => [...row.children].map((cell) => cell.textContent))""")
        self.assertEqual(len(rows), 11)
        for i, policy in enumerate(POLICIES):
            shown = sum(float(row[1 + i]) for row in rows)
            self.assertAlmostEqual(shown, 100, delta=0.06)
            tokens = self.report["results"][policy]["causes_pct"]["token"]
            self.assertEqual(rows[0][1 + i], f"{tokens:.2f}")

    def test_hovering_a_chart_gives_numbers(self):
        chart = "Chart.getChart(document.querySelector('#causes canvas'))"
        self.js("document.querySelector('#causes canvas').scrollIntoView("
                "{block: 'center', behavior: 'instant'})")
        x, y = self.js("""(() => {
          const box = document.querySelector("#causes canvas")
            .getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        })()""")
        self.browser.mouse("mouseMoved", x, y)
        self.browser.wait_for(f"{chart}.tooltip.opacity > 0")
        lines = self.js(f"{chart}.tooltip.body.flatMap((each) => each.lines)")
        self.assertEqual(len(lines), 11)
        self.assertRegex(lines[0], r"^tokens: \d+\.\d\d %$")

    def test_arrow_keys_read_a_chart(self):
        chart = "Chart.getChart(document.querySelector('#causes canvas'))"
        self.js("document.querySelector('#causes canvas').focus()")
        self.browser.press("ArrowRight")
        self.browser.press("ArrowRight")
        self.assertEqual(self.js(f"{chart}.tooltip.dataPoints[0].label"),
                         POLICIES[1])

    def test_the_memory_map_plays_and_pauses(self):
        when = "document.querySelector('#map-when').textContent"
        self.js("""(() => {
          const slider = document.querySelector("#map-time");
          slider.value = "0";
          slider.dispatchEvent(new Event("input"));
        })()""")
        first = self.js(when)
        self.assertRegex(first, r"^step 0 \(frame 1 of \d+\)$")
        self.browser.click("#map-play")
        self.assertEqual(self.text("#map-play"), "Pause")
        self.browser.wait_for(f"!{when}.includes('frame 1 of') && "
                              f"!{when}.includes('frame 2 of')")
        self.browser.click("#map-play")
        self.assertEqual(self.text("#map-play"), "Play")
        paused = self.js(when)
        self.js("new Promise((done) => setTimeout(done, 250))")
        self.assertEqual(self.js(when), paused)

    def test_the_slider_moves_by_keys_and_shows_another_frame(self):
        self.js("document.querySelector('#map-time').focus()")
        picture = "document.querySelector('#map-paged-16').toDataURL()"
        label = ("document.querySelector('#map-paged-16')"
                 ".getAttribute('aria-label')")
        self.browser.press("Home")
        start = self.js(f"[{picture}, {label}]")
        self.browser.press("End")
        self.assertIn("frame", self.js(
            "document.querySelector('#map-time').ariaValueText"))
        end = self.js(f"[{picture}, {label}]")
        self.assertNotEqual(start[0], end[0])
        self.assertNotEqual(start[1], end[1])
        self.browser.press("ArrowLeft")
        self.assertIn("resident", self.js(label))

    def test_the_memory_map_shows_the_slots_of_the_causes(self):
        """Cells of 2 slots, so that little is lost by what most of them are."""
        off = self.js("""Object.values(readData("courses").maps).map((map) =>
          Math.max(...decodeFrames(map).map((cells, i) => {
            const slots = map.frames[i].slots;
            const shown = Array(8).fill(0);
            for (const cell of cells) shown[useOf(cell)] += map.cell_slots;
            return Math.max(...[slots.token, slots.reserved, slots.internal,
                                slots.roundup].map(
              (each, use) => Math.abs(each - shown[use]) / map.capacity));
          })))""")
        self.assertEqual(len(off), len(POLICIES) - 1)  # concat has no places
        self.assertLess(max(off), 0.02)
        self.assertIn("concat", self.text("#memory-map > p:last-child"))

    def test_hovering_the_map_names_the_owner(self):
        self.browser.click("#map-contiguous-max")
        self.assertRegex(
            self.text("#memory-map .tip"),
            r"^Slots [\d,]+ to [\d,]+: (internal|reserved|tokens), request \d+")
        self.js("document.querySelector('#map-contiguous-max').focus()")
        before = self.text("#memory-map .tip")
        self.browser.press("ArrowRight")
        self.assertNotEqual(self.text("#memory-map .tip"), before)

    def test_another_policy_shows_another_course(self):
        tokens = ("Chart.getChart(document.querySelector('#course canvas'))"
                  ".data.datasets[0].data[3].y")
        before = self.js(tokens)
        self.js("""(() => {
          const choice = document.querySelector("#course select");
          choice.value = "paged-16";
          choice.dispatchEvent(new Event("change"));
        })()""")
        self.assertGreater(self.js(tokens), before)

    def test_dark_and_light(self):
        colour = "getComputedStyle(document.body).backgroundColor"
        light = self.js(colour)
        self.browser.click("#theme")
        self.assertEqual(self.text("#theme"), "Light colours")
        dark = self.js(colour)
        self.assertNotEqual(dark, light)
        bar, legend = self.js("""(() => {
          const chart = Chart.getChart(
            document.querySelector("#causes canvas"));
          return [chart.getDatasetMeta(0).data[0].options.backgroundColor,
                  chart.data.datasets[0].backgroundColor];
        })()""")
        self.assertEqual(bar, legend)
        self.screenshot("dark")
        self.browser.click("#theme")
        self.assertEqual(self.js(colour), light)
        self.browser.media(prefers_color_scheme="dark")
        self.open(self.page)
        self.assertEqual(self.js(colour), dark)

    def test_paper_is_white_and_has_no_controls(self):
        self.browser.media(prefers_color_scheme="dark")
        self.open(self.page)
        self.browser.media("print", prefers_color_scheme="dark")
        self.assertEqual(
            self.js("getComputedStyle(document.body).backgroundColor"),
            "rgb(255, 255, 255)")
        self.assertFalse(self.js("""[...document.querySelectorAll(
          "button, nav, input, select")].some(
            (each) => each.checkVisibility())"""))
        self.screenshot("print")
        self.browser.media()
        pdf = self.browser.pdf()
        self.assertTrue(pdf.startswith(b"%PDF"))
        (SCREENSHOTS / "print.pdf").write_bytes(pdf)

    def test_a_narrow_window_scrolls_down_only(self):
        self.browser.resize(360, 740)
        self.open(self.page)
        self.assertEqual(self.js("document.documentElement.scrollWidth"), 360)
        self.screenshot("narrow")

    def test_keyboard_and_screen_readers_find_their_way(self):
        self.browser.press("Tab")
        self.assertEqual(self.js("document.activeElement.className"), "skip")
        self.assertEqual(self.js("document.querySelectorAll('h1').length"), 1)
        self.assertEqual(self.js("""[...document.querySelectorAll("section")]
          .filter((each) => document.getElementById(
            each.getAttribute("aria-labelledby"))?.tagName !== "H2")
          .length"""), 0)
        self.assertEqual(self.js("""[...document.querySelectorAll("canvas")]
          .filter((each) => !(each.ariaLabel?.length > 20)).length"""), 0)
        self.assertEqual(self.js("""[...document.querySelectorAll(
          "input, select, button")].filter((each) => !each.ariaLabel &&
            !each.textContent && each.labels.length === 0).length"""), 0)

    def page_with(self, name, data):
        """A page with that data block only."""
        whole = self.page.read_text()
        head, begin, rest = whole.partition(
            '<script type="application/json" id="report">')
        scripts = rest.partition("</script>")[2].partition("</script>")[2]
        page = self.folder / f"{name}.html"
        page.write_text(head + begin.replace("report", name) +
                        json.dumps(data).replace("<", "\\u003c") +
                        "</script>" + scripts)
        return page

    def test_a_sweep_shows_its_knee_and_its_cliff(self):
        runs = []
        for memory, waste in [("1GiB", 40), ("2GiB", 39), ("4GiB", 5),
                              ("512MiB", 41), ("8GiB", 4)]:
            report = json.loads(json.dumps(self.report))
            for result in report["results"].values():
                result["waste_pct"]["mean"] = waste
            runs.append({"parameters": {"memory": memory, "dtype": "fp16"},
                         "report": report, "problem": None})
        runs.append({"parameters": {"memory": "1GiB", "dtype": "fp8"},
                     "report": None, "problem": "it <i>cannot</i> be"})
        sweep = {
            "schema": "pagedkv.sweep/1", "hash": "0" * 64, "runs": runs,
            "parameters": [
                {"name": "memory", "values": ["512MiB", "1GiB", "2GiB", "4GiB",
                                              "8GiB"]},
                {"name": "dtype", "values": ["fp16", "fp8"]}],
            "knees": [{"parameters": {"dtype": "fp16"}, "rule": "a rule",
                       "sentence": "a knee", "block_size": 16,
                       "curve": [{"block_size": 8, "waste_intrinsic_pct": 1.0},
                                 {"block_size": 16, "waste_intrinsic_pct": 1.5},
                                 {"block_size": 32,
                                  "waste_intrinsic_pct": 3.0}]}]}
        self.open(self.page_with("sweep", sweep))
        self.assertEqual(self.js("""[...document.querySelectorAll("section")]
          .map((each) => each.id)"""), ["verdict", "sweep", "block-size"])
        text = self.text("#sweep")
        self.assertIn("a cliff between 2 and 4, from 39 to 5", text)
        self.assertIn("it <i>cannot</i> be", text)
        # By place, not by the order of the runs or of the texts.
        self.assertEqual(
            self.js("""Chart.getChart(document.querySelector("#sweep canvas"))
              .data.datasets.at(-1).data.map((point) => point.x)"""),
            [0.5, 1, 2, 4, 8])
        self.assertIn("a knee", self.text("#block-size"))
        self.js("""(() => {
          const choice = document.querySelector("#sweep select");
          choice.value = "batch";
          choice.dispatchEvent(new Event("change"));
        })()""")
        self.assertIn("No cliff", self.text("#sweep"))
        self.screenshot("sweep")

    def test_a_hit_curve_has_the_optimum_and_three_weights(self):
        rates = {f"{weight}_hit_rate": rate for weight, rate in
                 [("block", 0.5), ("token", 0.4), ("request", 0.3)]}
        curve = [dict(rates, size_blocks=size) for size in [10, 20, 40]]
        self.open(self.page_with("hitcurve", {
            "schema": "pagedkv.hitcurve/1", "trace": {"block_tokens": 512},
            "unbounded": rates, "curves": [
                {"policy": "lru", "method": "stack_distances",
                 "points": curve},
                {"policy": "optimum", "method": "offline", "points": curve}]}))
        data = ("Chart.getChart(document.querySelector('#hit-rate canvas'))"
                ".data.datasets")
        self.assertEqual(self.js(f"{data}.map((each) => each.label)"),
                         ["lru", "optimum", "unbounded"])
        self.assertEqual(self.js(f"{data}[1].data[0].y"), 50)
        self.js("""(() => {
          const choice = document.querySelector("#hit-rate select");
          choice.value = "token";
          choice.dispatchEvent(new Event("change"));
        })()""")
        self.assertEqual(self.js(f"{data}[1].data[0].y"), 40)

    def test_the_pages_of_other_commands(self):
        """Real ones, of which each has its sections and nothing to complain."""
        sharegpt = ["--workload", "sharegpt", "--requests", "300"]
        chat = ["--workload", "chat-multi-turn", "--requests", "200", "--model",
                "llama-3-8b", "--max-seq-len", "8192", "--memory", "2GiB",
                "--clock", "fixed", "--step-time", "20ms"]
        for page, arguments, sections in [
            ("report.html", ["sim", *chat, "--policies", "paged-16,paged-32",
                             "--prefix-cache", "on", "--replicas", "2"],
             ["verdict", "summary", "causes", "memory-map", "course", "batch",
              "prefix-cache", "block-size", "fleet", "requests"]),
            ("sweep.html", ["sim", *sharegpt, "--model", "opt-13b", "--memory",
                            "12GiB", "--policies", "paged-16,contiguous-max",
                            "--sweep", "block-size=8..64*2"],
             ["verdict", "sweep", "block-size"]),
            ("plan.html", ["plan", *sharegpt, "--model", "opt-13b",
                           "--minimize", "memory", "--target-preemption-rate",
                           "0.05"], ["verdict", "search-0"]),
            ("hitcurve.html", ["hitcurve", "--workload",
                               "mooncake-conversation", "--policies",
                               "lru,optimum", "--sizes", "1000,10000"],
             ["verdict", "hit-rate"]),
        ]:
            with self.subTest(page=page):
                subprocess.run([PROGRAM, *arguments, "--out",
                                self.folder / "other"], check=True,
                               stdout=subprocess.DEVNULL)
                self.open(self.folder / "other" / page)
                self.assertEqual(
                    self.js("[...document.querySelectorAll('section')]"
                            ".map((each) => each.id)"), sections)
                self.assertGreater(
                    self.js("document.querySelectorAll('.plot canvas').length"),
                    0)
                self.assertEqual(self.browser.complaints(), [])
                self.assertEqual(len(self.browser.requests()), 1)
                if page == "sweep.html":
                    self.assertEqual(
                        self.js("""Chart.getChart(document.querySelector(
                          "#sweep canvas")).data.datasets.map(
                          (each) => [each.label, each.data.length])"""),
                        [["paged", 4], ["contiguous-max", 4]])

    def test_latency_is_shown_where_time_is_modelled(self):
        report = json.loads(json.dumps(self.report))
        quantiles = {"p50": 0.1, "p90": 0.2, "p99": 0.4, "mean": 0.15}
        for result in report["results"].values():
            result["latency"] = {"ttft_s": quantiles, "tpot_s": quantiles,
                                 "e2e_s": None, "queue_s": None}
        self.open(self.page_with("report", report))
        captions = self.js("""[...document.querySelectorAll(
          "#batch figcaption")].map((each) => each.textContent)""")
        self.assertEqual(captions, [
            "Batch: resident sequences", "Latency: time to first token",
            "Latency: time per output token"])

    def test_without_chart_js_the_tables_are_open(self):
        whole = self.page.read_text()
        begin = whole.index("<script>/*!\n * Chart.js")
        end = whole.index("</script>", begin) + len("</script>")
        bare = self.folder / "bare.html"
        bare.write_text(whole[:begin] + whole[end:])
        self.open(bare)
        self.assertEqual(
            self.js("document.querySelectorAll('#no-charts').length"), 1)
        self.assertEqual(
            self.js("document.querySelectorAll('#causes table').length"), 2)
        self.assertEqual(self.js("document.querySelectorAll('.plot').length"),
                         0)
        self.screenshot("without_charts")


if __name__ == "__main__":
    if chromium.find() is None:
        print("SKIPPED: report.html was not looked at: no chromium is here")
        sys.exit(SKIPPED)
    SCREENSHOTS = Path(sys.argv.pop(2))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    PROGRAM = Path(sys.argv.pop(1)).resolve()
    unittest.main()
