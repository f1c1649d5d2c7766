// SPDX-License-Identifier: Apache-2.0
// What a report of `pagedkv sim` says: summary, batch, latency, requests.
"use strict";

function withInterval(estimate, decimals) {
  if (estimate === null) return "–";
  if (estimate.lo === null) return number(estimate.mean, decimals);
  return `${number(estimate.mean, decimals)} ` +
    `(${number(estimate.lo, decimals)} to ${number(estimate.hi, decimals)})`;
}

const meanOf = (estimate, decimals) =>
  number(estimate === null ? null : estimate.mean, decimals);

function showSummary(report) {
  const rows = report.policies.map(({ id }) => {
    const result = report.results[id];
    const paper = result.paper_pct;
    return [id, withInterval(paper.token, 1), meanOf(paper.reserved, 1),
            meanOf(paper.internal, 1), meanOf(paper.external_and_others, 1),
            withInterval(result.waste_pct, 1), meanOf(result.batch, 2),
            result.capacity_gain === null
              ? "–" : `${number(result.capacity_gain, 2)}×`,
            number(result.preempt.count), number(result.preempt.swaps),
            number(result.requests.finished),
            number(result.requests.rejected), number(result.waste_gb_hours, 2)];
  });
  const first = report.results[report.policies[0].id];
  addSection(
    "summary", "Policies",
    table(`Means by ${first.weight}; in parentheses 95 % intervals; maximum ` +
          `length ${number(report.model.max_seq_len)} tokens; baseline ` +
          report.baseline,
          ["policy", "token % of pool", "reserved %", "internal %",
           "ext & other %", "waste % of held", "batch", "vs baseline",
           "preemptions", "by swap", "finished", "rejected", "GB-h wasted"],
          rows));
}

function batchFigure(report) {
  const ids = report.policies.map((policy) => policy.id);
  const parts = ["mean", "p50", "p99", "max"];
  const batchOf = (id, part) => {
    const batch = report.results[id].batch;
    return batch === null ? null : batch[part];
  };
  return figure({
    caption: "Batch: resident sequences",
    describe: "Bars of the mean, median, 99th percentile and maximum by policy.",
    config: {
      type: "bar",
      data: {
        labels: ids,
        datasets: parts.map((part, i) => ({
          label: part, colour: lineColour(i),
          data: ids.map((id) => batchOf(id, part)),
        })),
      },
      scales: { x: {}, y: axis("sequences", { beginAtZero: true }) },
      tooltip: {
        label: (item) => `${item.dataset.label}: ${number(item.raw, 2)}`,
      },
    },
    makeTable: () => table("Resident sequences", ["policy", ...parts],
                           ids.map((id) => [id, ...parts.map(
                             (part) => number(batchOf(id, part),
                                              part === "mean" ? 2 : 0))])),
  });
}

const LATENCIES = [
  ["ttft", "time to first token"],
  ["tpot", "time per output token"],
  ["queue", "time in the queue"],
  ["e2e", "end to end"],
];

// Latency in seconds under the names of the report: `ttft` or `ttft_s`.
function latencyOf(report, id, key) {
  const latency = report.results[id].latency;
  if (!latency) return null;
  return latency[key] ?? latency[`${key}_s`] ?? null;
}

function latencyFigure(report, key, label) {
  const ids = report.policies.map((policy) => policy.id)
    .filter((id) => latencyOf(report, id, key) !== null);
  if (ids.length === 0) return null;
  const parts = ["p50", "p90", "p99", "mean"];
  return figure({
    caption: `Latency: ${label}`,
    describe: "Bars of percentiles by policy, on a logarithmic axis.",
    config: {
      type: "bar",
      data: {
        labels: ids,
        datasets: parts.map((part, i) => ({
          label: part, colour: lineColour(i),
          data: ids.map((id) => latencyOf(report, id, key)[part]),
        })),
      },
      scales: { x: {}, y: axis("seconds", { type: "logarithmic" }) },
      tooltip: {
        label: (item) => `${item.dataset.label}: ${plainNumber(item.raw)} s`,
      },
    },
    makeTable: () => table(
      `${label}, in seconds`, ["policy", ...parts],
      ids.map((id) => [id, ...parts.map(
        (part) => plainNumber(latencyOf(report, id, key)[part]))])),
  });
}

function showBatchAndLatency(report) {
  const latencies = LATENCIES
    .map(([key, label]) => latencyFigure(report, key, label))
    .filter((made) => made !== null);
  addSection(
    "batch", latencies.length === 0 ? "Batch" : "Batch and latency",
    latencies.length > 0 ? null : element(
      "p", { class: "soft" }, "There is no latency here: with this clock a " +
      "step's time does not follow from its work."),
    element("div", { class: "side-by-side" }, batchFigure(report),
            ...latencies),
    serviceTable(report));
}

// `waste`: by policy, a list of {from, to, requests}.
function wasteFigure(report, waste) {
  const ids = report.policies.map((policy) => policy.id)
    .filter((id) => waste[id] !== undefined && waste[id].length > 0);
  if (ids.length === 0) return null;
  const buckets = new Map();
  for (const id of ids) {
    for (const { from, to } of waste[id]) buckets.set(from, to);
  }
  const froms = [...buckets.keys()].sort((a, b) => a - b);
  const label = (from) => from === buckets.get(from)
    ? number(from) : `${number(from)}–${number(buckets.get(from))}`;
  const share = (id, from) => {
    const total = waste[id].reduce((sum, each) => sum + each.requests, 0);
    const found = waste[id].find((each) => each.from === from);
    return found === undefined ? 0 : 100 * found.requests / total;
  };
  return figure({
    caption: "Slots that a request was granted and never used",
    note: "beyond its final length",
    describe: "Bars of the share of the requests in each range of waste, by " +
      "policy.",
    config: {
      type: "bar",
      data: {
        labels: froms.map(label),
        datasets: ids.map((id, i) => ({
          label: id, colour: lineColour(i),
          data: froms.map((from) => share(id, from)),
        })),
      },
      scales: { x: axis("slots wasted"),
                y: axis("% of the requests", { beginAtZero: true }) },
      tooltip: inPercent,
    },
    makeTable: () => table(
      "Share of the finished requests, in percent, by slots wasted",
      ["slots", ...ids],
      froms.map((from) => [label(from),
                           ...ids.map((id) => number(share(id, from), 2))])),
  });
}

function worstTable(report, id) {
  const waste = report.results[id].per_request.waste_slots;
  return table(`The requests of ${id} that wasted most`,
               ["request", "prompt", "output", "slots wasted"],
               (waste === null ? [] : waste.worst).map((request) => [
                 number(request.id), number(request.prompt),
                 number(request.output), number(request.waste_slots)]));
}

function showRequests(report, waste) {
  const ids = report.policies.map((policy) => policy.id);
  let shown = ids[0];
  const worst = disclosure("Ten worst requests", () => element(
    "div", { class: "side-by-side" }, worstTable(report, shown),
    slowestTable(report, shown)), true);
  const quantiles = ["p50", "p90", "p99", "max"];
  addSection(
    "requests", "Waste by request", wasteFigure(report, waste),
    table("Slots wasted by a finished request", ["policy", ...quantiles],
          ids.map((id) => {
            const slots = report.results[id].per_request.waste_slots;
            return [id, ...quantiles.map(
              (each) => number(slots === null ? null : slots[each]))];
          })),
    element("h3", {}, "Ten worst"),
    element("div", { class: "controls" },
            choice("Policy", ids, (id) => { shown = id; worst.refresh(); })),
    worst);
}
