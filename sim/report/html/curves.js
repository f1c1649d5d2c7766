// SPDX-License-Identifier: Apache-2.0
// Curves over a parameter: waste by block size, a pool's cliff, hits by size.
"use strict";

// `series` and `marks`: {label, points: [{x, y}]}; marks are drawn as triangles.
function curveFigure({ caption, note, describe, xTitle, yTitle, series,
                       marks = [], decimals = 2 }) {
  const xs = [...new Set(series.flatMap((each) => each.points.map((p) => p.x)))]
    .sort((a, b) => a - b);
  const logarithmic = xs[0] > 0 && xs[xs.length - 1] >= 4 * xs[0];
  const valueAt = (each, x) => {
    const found = each.points.find((point) => point.x === x);
    return found === undefined ? null : found.y;
  };
  return figure({
    caption, note, describe,
    config: {
      type: "line",
      mode: "nearest",
      data: {
        datasets: [
          ...marks.map((mark) => ({
            label: mark.label, colour: "--text", showLine: false,
            pointStyle: "triangle", pointRadius: 9,
            data: mark.points,
          })),
          ...series.map((each, i) => ({
            label: each.label, colour: lineColour(i), data: each.points,
            borderWidth: 2, pointRadius: 3,
            borderDash: each.dashed ? [6, 4] : [],
          })),
        ],
      },
      scales: {
        x: axis(xTitle, { type: logarithmic ? "logarithmic" : "linear",
                           min: xs[0], max: xs[xs.length - 1] }),
        y: axis(yTitle, { beginAtZero: true }),
      },
      tooltip: {
        label: (item) => `${item.dataset.label}: ` +
          `${number(item.raw.y, decimals)} at ${plainNumber(item.raw.x)}`,
      },
    },
    makeTable: () => table(
      `${yTitle}, by ${xTitle}`, [xTitle, ...series.map((each) => each.label)],
      xs.map((x) => [plainNumber(x), ...series.map(
        (each) => number(valueAt(each, x), decimals))])),
  });
}

// The paged policies of one report are a sweep over block sizes.
function blockSizesOfReport(report) {
  const points = report.policies
    .filter((policy) => policy.kind === "paged" &&
            report.results[policy.id].waste_intrinsic_pct !== null)
    .map((policy) => ({ x: policy.block_size,
                        y: report.results[policy.id].waste_intrinsic_pct.mean }))
    .sort((a, b) => a.x - b.x);
  return points;
}

// The knee: the largest block whose waste is within one point of the least, as
// in a sweep's report. Null where there are too few sizes to speak of one.
function kneeOf(points) {
  if (points.length < 3) return null;
  const least = Math.min(...points.map((point) => point.y));
  return points.findLast((point) => point.y <= least + 1);
}

function blockSizeFigure(points, knee) {
  return curveFigure({
    caption: "Waste of what is allocated, by block size",
    note: "independent of the load",
    describe: "A line over the block size; a triangle marks the knee.",
    xTitle: "tokens in a block", yTitle: "% of the allocated slots",
    series: [{ label: "paged", points }],
    marks: knee === null ? [] : [{ label: "knee", points: [knee] }],
  });
}

function showBlockSizes(report) {
  const sizes = blockSizesOfReport(report);
  if (sizes.length < 2) return;
  const knee = kneeOf(sizes);
  addSection(
    "block-size", "Waste by block size",
    knee === null ? null : element(
      "p", {}, `The knee is at blocks of ${number(knee.x)} tokens, with ` +
      `${number(knee.y, 2)} % wasted: the largest whose waste is within one ` +
      "point of the least."),
    blockSizeFigure(sizes, knee));
}

const rateOf = (rates, weight) => rates[`${weight}_hit_rate`];

// pagedkv.hitcurve/1.
function showHitcurve(hitcurve) {
  const weights = ["block", "token", "request"]
    .filter((weight) => rateOf(hitcurve.unbounded, weight) !== undefined);
  let weight = weights[0];
  const series = () => {
    const curves = hitcurve.curves.map((curve) => ({
      label: curve.policy,
      dashed: curve.method === "offline",
      points: curve.points.map((point) => ({ x: point.size_blocks,
                                             y: 100 * rateOf(point, weight) })),
    }));
    const sizes = curves.length === 0 ? []
      : curves[0].points.map((point) => point.x);
    return [...curves, {
      label: "unbounded", dashed: true,
      points: sizes.map((x) => ({ x, y: 100 * rateOf(hitcurve.unbounded, weight) })),
    }];
  };
  const holder = element("div");
  const show = () => replaceFigures(holder, curveFigure({
    caption: `Hit rate by size of the cache, weighted by ${weight}`,
    note: "the optimum knows the future: no policy has more hits by blocks",
    describe: "A line for each policy, the offline optimum among them.",
    xTitle: `blocks of ${hitcurve.trace.block_tokens} tokens`,
    yTitle: "hit rate in %", series: series(),
  }));
  show();
  addSection(
    "hit-rate", "Hit rate by size of the cache",
    weights.length < 2 ? null : element(
      "div", { class: "controls" },
      choice("Weight", weights, (chosen) => { weight = chosen; show(); })),
    holder);
}
