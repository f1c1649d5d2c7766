// SPDX-License-Identifier: Apache-2.0
// Curves over a parameter: waste by block size, a pool's cliff, hits by size.
"use strict";

// `series`: {label, points: [{x, y}]}; `marks`: {label, x, y}, drawn as points.
function curveFigure({ caption, note, describe, xTitle, yTitle, series,
                       marks = [], logarithmic = true, decimals = 2,
                       yMax = undefined }) {
  const xs = [...new Set(series.flatMap((each) => each.points.map((p) => p.x)))]
    .sort((a, b) => a - b);
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
            data: [{ x: mark.x, y: mark.y }],
          })),
          ...series.map((each, i) => ({
            label: each.label, colour: lineColour(i), data: each.points,
            borderWidth: 2, pointRadius: 3,
            borderDash: each.dashed ? [6, 4] : [],
          })),
        ],
      },
      scales: {
        x: axis(xTitle, { type: logarithmic ? "logarithmic" : "linear" }),
        y: axis(yTitle, { beginAtZero: true, max: yMax }),
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

// The knee: the point farthest below the straight line from the first to the
// last, with both axes scaled to 1. Sizes are taken by their logarithm, since
// they double. Null where no point is below the line.
function kneeOf(points) {
  if (points.length < 3) return null;
  const first = points[0];
  const last = points[points.length - 1];
  const width = Math.log(last.x / first.x);
  const height = last.y - first.y;
  if (!(width > 0) || !(height > 0)) return null;
  let knee = null;
  let most = 0;
  for (const point of points) {
    const below = Math.log(point.x / first.x) / width -
      (point.y - first.y) / height;
    if (below > most) [knee, most] = [point, below];
  }
  return knee;
}

function showBlockSizes(report) {
  const sizes = blockSizesOfReport(report);
  if (sizes.length < 2) return;
  const knee = kneeOf(sizes);
  addSection(
    "block-size", "Waste by block size",
    element("p", {}, knee === null
      ? "No knee: waste does not rise faster with larger blocks."
      : `The knee is at blocks of ${number(knee.x)} tokens, with ` +
        `${number(knee.y, 2)} % wasted: beyond it, each doubling costs more ` +
        "than the average one."),
    curveFigure({
      caption: "Waste of what is allocated, by block size",
      note: "independent of the load",
      describe: "A line over the block size; a triangle marks the knee.",
      xTitle: "tokens in a block", yTitle: "% of the allocated slots",
      series: [{ label: "paged", points: sizes }],
      marks: knee === null ? [] : [{ label: "knee", ...knee }],
    }));
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
  const show = () => holder.replaceChildren(curveFigure({
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
