// SPDX-License-Identifier: Apache-2.0
// A capacity plan (pagedkv.plan/1): each target's figure over the amounts that
// were tried, with its limit, the answer and the cliff.
"use strict";

function showPlan(plan) {
  for (const [i, search] of plan.searches.entries()) showSearch(plan, search, i);
}

function amountOf(answer) {
  if (answer === null) return null;
  return answer.num_blocks ?? answer.replicas ?? answer.rate_rps;
}

function targetFigure(plan, search, target) {
  const points = search.probes
    .filter((probe) => (probe.values[target.name] ?? null) !== null)
    .map((probe) => ({ x: probe.amount, y: probe.values[target.name] }))
    .sort((a, b) => a.x - b.x);
  if (points.length === 0) return null;
  const limit = points.map((point) => ({ x: point.x, y: target.limit }));
  const marks = [];
  const answer = points.find((point) => point.x === amountOf(search.answer));
  if (answer !== undefined) {
    marks.push({ label: "the answer", points: [answer] });
  }
  if (search.cliff !== null && search.binding === target.name) {
    marks.push({ label: "the cliff begins", points: [
      { x: search.cliff.holds_at, y: search.cliff.before }] });
  }
  return curveFigure({
    caption: `${target.name} by ${plan.amounts}`,
    note: `target: at ${target.at_least ? "least" : "most"} ` +
      `${plainNumber(target.limit)} ${target.unit}`,
    describe: "A line over the amounts that were tried, and the limit; " +
      "triangles mark the answer and the cliff.",
    xTitle: plan.amounts, yTitle: `${target.name}, ${target.unit}`,
    series: [{ label: target.name, points },
             { label: "limit", points: limit, dashed: true }],
    marks, decimals: 3,
  });
}

function showSearch(plan, search, index) {
  const split = search.tensor_parallel * search.pipeline_parallel > 1
    ? `, tensor parallel ${search.tensor_parallel}, pipeline ` +
      `${search.pipeline_parallel}` : "";
  // The binding target first.
  const targets = [...plan.targets].sort(
    (a, b) => (b.name === search.binding) - (a.name === search.binding));
  addSection(
    `search-${index}`, `${search.policy}${split}`,
    search.cliff === null ? null : element(
      "p", { class: "soft" }, `Cliff: ${search.cliff.rule}.`),
    element("div", { class: "side-by-side" }, ...targets.map(
      (target) => targetFigure(plan, search, target))),
    table("All that was tried",
          [plan.amounts, ...plan.targets.map((target) => target.name), "meets"],
          search.probes.map((probe) => [
            plainNumber(probe.amount),
            ...plan.targets.map(
              (target) => plainNumber(probe.values[target.name])),
            probe.problem ?? (probe.meets ? "yes" : "no")])));
}
