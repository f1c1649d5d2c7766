// SPDX-License-Identifier: Apache-2.0
// Puts the page together from the data blocks that there are.
"use strict";

function showVerdict(head) {
  document.getElementById("title").textContent = head.title;
  document.title = head.title;
  addSection(
    "verdict", "Verdict",
    element("p", { class: "verdict" }, head.verdict),
    head.rule === "" ? null : element("p", { class: "soft" }, head.rule),
    element("ul", { class: "facts" },
            ...head.facts.map((fact) => element("li", {}, fact))),
    ...head.warnings.map((warning) => element(
      "p", { class: "notice" }, `Warning: ${warning}`)),
    HAS_CHARTS ? null : element(
      "p", { class: "notice", id: "no-charts" }, "Chart.js was not there when " +
      "this pagedkv was built: the tables have all figures."));
}

function showFooter(head, hashed) {
  const parts = [`pagedkv ${head.version}`];
  if (hashed !== null) parts.push(`SHA-256 ${hashed.hash}`);
  if (HAS_CHARTS) parts.push(`drawn with Chart.js ${Chart.version} (MIT)`);
  document.getElementById("footer").append(parts.join(" · "));
}

function showPage() {
  const head = readData("head");
  const report = readData("report");
  const courses = readData("courses");
  const hitcurve = readData("hitcurve");
  const sweep = readData("sweep");
  const plan = readData("plan");
  showVerdict(head);
  if (report !== null) {
    showSummary(report);
    showCauses(report);
  }
  if (courses !== null) showMemoryMaps(report, courses.maps);
  if (courses !== null) showCourse(report, courses.timeseries);
  if (report !== null) {
    showBatchAndLatency(report);
    showPrefixCache(report);
    showBlockSizes(report);
    showFleet(report);
    showKvCacheGroups(report);
  }
  if (sweep !== null) {
    showSweep(sweep);
    showKnees(sweep);
  }
  if (plan !== null) showPlan(plan);
  if (hitcurve !== null) showHitcurve(hitcurve);
  if (courses !== null) showRequests(report, courses.waste);
  showFooter(head, report ?? sweep ?? plan);
  setUpTheme();
}

showPage();
