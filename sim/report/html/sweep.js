// SPDX-License-Identifier: Apache-2.0
// A sweep (pagedkv.sweep/1): any figure over any swept parameter, with the knee
// of the block size and the cliff of what is scarce.
"use strict";

const SWEEP_METRICS = [
  ["waste, % of what is held", (result) => meanIn(result.waste_pct)],
  ["waste, % of what is allocated",
   (result) => meanIn(result.waste_intrinsic_pct)],
  ["tokens, % of the pool", (result) => meanIn(result.paper_pct.token)],
  ["batch", (result) => meanIn(result.batch)],
  ["preemptions per request", (result) => result.requests.finished > 0
    ? result.preempt.count / result.requests.finished : null],
  ["p99 time to first token, s", (result) => quantileIn(result, "ttft_s")],
  ["p99 time per output token, s", (result) => quantileIn(result, "tpot_s")],
  ["p99 time in the queue, s", (result) => quantileIn(result, "queue_s")],
];

const meanIn = (estimate) => estimate ? estimate.mean : null;
const quantileIn = (result, key) => result.latency?.[key]?.p99 ?? null;

const BYTES = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, kib: 2 ** 10,
                mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 };
const SECONDS = { ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600 };

// A value of the command line, such as "12GiB", "20ms", "0.9" or "512"; null
// for a name.
function parseValue(text) {
  const match = /^([0-9.]+)\s*([A-Za-z]*)$/.exec(text.replaceAll(",", ""));
  if (match === null) return null;
  const unit = match[2].toLowerCase();
  if (unit !== "" && !(unit in BYTES) && !(unit in SECONDS)) return null;
  return { amount: Number(match[1]), unit };
}

// The axis of a parameter: its unit, and where a value lies on it. Sizes are in
// GiB and times in seconds, whatever each is written in.
function scaleOf(values) {
  const parsed = values.map(parseValue);
  if (parsed.some((value) => value === null)) return null;
  const all = (units) => parsed.every((value) => value.unit in units);
  const place = (factors, whole) => (text) => {
    const { amount, unit } = parseValue(text);
    return amount * factors[unit] / whole;
  };
  if (all(BYTES)) return { unit: "GiB", place: place(BYTES, BYTES.gib) };
  if (all(SECONDS)) return { unit: "s", place: place(SECONDS, 1) };
  if (parsed.some((value) => value.unit !== "")) return null;
  return { unit: "", place: (text) => parseValue(text).amount };
}

// A series for each policy and each combination of the other parameters. A
// paged policy's id says its block size; over block sizes they are one series.
function sweepSeries(sweep, name, metric) {
  const parameter = sweep.parameters.find((each) => each.name === name);
  const { place } = scaleOf(parameter.values);
  const series = new Map();
  for (const run of sweep.runs) {
    if (run.report === null) continue;
    const others = Object.entries(run.parameters)
      .filter(([key]) => ![name, "policies", "block-size"].includes(key))
      .map(([key, value]) => `${key}=${value}`);
    for (const { id, kind } of run.report.policies) {
      const y = metric(run.report.results[id]);
      if (y === null) continue;
      const own = name === "block-size" && kind === "paged" ? kind : id;
      const label = [own, ...others].join(" ");
      if (!series.has(label)) series.set(label, new Map());
      series.get(label).set(place(run.parameters[name]), y);
    }
  }
  return [...series].map(([label, points]) => ({
    label, points: [...points].map(([x, y]) => ({ x, y }))
      .sort((a, b) => a.x - b.x),
  }));
}

// The cliff of a curve: the steepest change between neighbours, where it is
// steeper than the square of the parameter. A fiftieth of the largest figure is
// added to each, so that what is next to nothing does not count.
function cliffOf(points) {
  if (points.length < 3 || points[0].x <= 0) return null;
  const least = Math.max(...points.map((point) => point.y)) / 50;
  if (!(least > 0)) return null;
  let cliff = null;
  let steepest = 2;
  for (let i = 1; i < points.length; ++i) {
    const [from, to] = [points[i - 1], points[i]];
    const steepness = Math.abs(Math.log((to.y + least) / (from.y + least))) /
      Math.log(to.x / from.x);
    if (steepness > steepest) {
      steepest = steepness;
      cliff = { from, to };
    }
  }
  return cliff;
}

function cliffList(series) {
  const lines = series
    .map(({ label, points }) => ({ label, cliff: cliffOf(points) }))
    .filter(({ cliff }) => cliff !== null)
    .map(({ label, cliff: { from, to } }) =>
      `${label}: a cliff between ${plainNumber(from.x)} and ` +
      `${plainNumber(to.x)}, from ${plainNumber(from.y)} to ` +
      `${plainNumber(to.y)}.`);
  if (lines.length === 0) lines.push("No cliff of this figure.");
  return element("ul", { class: "facts" },
                 ...lines.map((line) => element("li", {}, line)));
}

function sweepTable(sweep) {
  const names = sweep.parameters.map((parameter) => parameter.name);
  const rows = sweep.runs.flatMap((run) => {
    const values = names.map((name) => run.parameters[name]);
    if (run.report === null) {
      return [[...values, "not possible", run.problem]];
    }
    return Object.entries(run.report.results).map(([id, result]) => [
      ...values, id, ...SWEEP_METRICS.map(
        ([, metric]) => plainNumber(metric(result)))]);
  });
  return table("All combinations", [...names, "policy", ...SWEEP_METRICS.map(
    ([label]) => label)], rows);
}

function showSweep(sweep) {
  const numeric = sweep.parameters
    .filter((parameter) => parameter.values.length > 1 &&
            scaleOf(parameter.values) !== null)
    .map((parameter) => parameter.name);
  const results = sweep.runs.flatMap(
    (run) => run.report === null ? [] : Object.values(run.report.results));
  const metrics = SWEEP_METRICS.filter(
    ([, metric]) => results.some((result) => metric(result) !== null));
  let name = numeric[0];
  let metric = metrics[0];
  const holder = element("div");
  const show = () => {
    const series = sweepSeries(sweep, name, metric[1]);
    const { unit } = scaleOf(
      sweep.parameters.find((each) => each.name === name).values);
    const cliffs = series.map((each) => cliffOf(each.points))
      .filter((cliff) => cliff !== null);
    replaceFigures(
      holder,
      curveFigure({
        caption: `${metric[0]}, by ${name}`, note: "triangles mark cliffs: changes steeper than the square",
        describe: "A line for each policy and setting.",
        xTitle: unit === "" ? name : `${name}, ${unit}`, yTitle: metric[0],
        series,
        marks: cliffs.length === 0 ? [] : [
          { label: "cliff", points: cliffs.map((cliff) => cliff.to) }],
        decimals: 3,
      }),
      cliffList(series));
  };
  const labels = metrics.map(([label]) => label);
  addSection(
    "sweep", "Sweep",
    numeric.length === 0 || metrics.length === 0 ? null : element(
      "div", { class: "controls" },
      choice("Figure", labels, (label) => {
        metric = metrics[labels.indexOf(label)];
        show();
      }),
      choice("Over", numeric, (chosen) => { name = chosen; show(); })),
    holder, disclosure("All combinations", () => sweepTable(sweep), true));
  if (numeric.length > 0 && metrics.length > 0) show();
}

// The knees of a sweep over block sizes, as the sweep found them, one at a time.
function showKnees(sweep) {
  if (sweep.knees.length === 0) return;
  const settings = sweep.knees.map(
    (knee) => Object.entries(knee.parameters)
      .map(([key, value]) => `${key}=${value}`).join(" "));
  const holder = element("div");
  const show = (knee) => {
    const curve = knee.curve.map((point) => ({ x: point.block_size,
                                               y: point.waste_intrinsic_pct }));
    replaceFigures(
      holder, element("p", {}, knee.sentence),
      blockSizeFigure(curve, curve.find(
        (point) => point.x === knee.block_size) ?? null));
  };
  show(sweep.knees[0]);
  addSection(
    "block-size", "Waste by block size",
    element("p", { class: "soft" }, `Knee: ${sweep.knees[0].rule}.`),
    settings.length < 2 ? null : element(
      "div", { class: "controls" }, choice("Setting", settings, (chosen) => {
        show(sweep.knees[settings.indexOf(chosen)]);
      })),
    holder);
}
