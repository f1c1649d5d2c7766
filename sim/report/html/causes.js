// SPDX-License-Identifier: Apache-2.0
// The eleven causes, in words and as bars, beside the PagedAttention paper's.
"use strict";

const CAUSES = [
  ["token", "tokens", "holds KV of a live sequence"],
  ["reserved", "reserved", "its owner will use it later"],
  ["internal", "internal", "granted, and nobody will ever use it"],
  ["roundup", "round-up", "padding of the allocator"],
  ["cached_idle", "cached, idle",
   "prefix blocks that nobody uses, reclaimable at once"],
  ["watermark", "watermark", "free, and withheld by the scheduler"],
  ["blocked_fragmented", "blocked: fragmented",
   "free while a request waits: enough, but no chunk fits"],
  ["blocked_capacity", "blocked: capacity",
   "free while a request waits: less than it needs"],
  ["blocked_policy", "blocked: limits",
   "free while a request waits for a limit other than memory"],
  ["tail", "tail", "unusable: the pool is no multiple of the chunk; null block"],
  ["idle", "idle", "free with an empty queue"],
].map(([key, label, words]) => ({ key, label, words,
                                  colour: `--cause-${key}` }));

// Figure 2 of the paper (Kwon et al., SOSP 2023): OPT-13B on ShareGPT. Of vLLM
// it gives the tokens only.
const PAPER_SYSTEMS = [
  { name: "Orca (Max)", parts: [20.4, 13.3, 57.3, 8.9, null] },
  { name: "Orca (Pow2)", parts: [26.8, 17.9, 13.6, 41.6, null] },
  { name: "Orca (Oracle)", parts: [38.2, 25.2, 0, 36.6, null] },
  { name: "vLLM", parts: [96.3, null, null, null, 3.7] },
];
const PAPER_PARTS = [
  ["token states", "--cause-token"],
  ["reservation", "--cause-reserved"],
  ["internal fragmentation", "--cause-internal"],
  ["external fragmentation & others", "--cause-blocked_fragmented"],
  ["not broken down", "--cause-idle"],
];

const percentAxis = (title) => axis(title, { stacked: true, min: 0, max: 100 });
const inPercent = {
  label: (item) => `${item.dataset.label}: ${number(item.raw, 2)} %`,
};

function causeLegend() {
  return element("ul", { class: "legend", "aria-label": "Colours of the causes" },
                 ...CAUSES.map((cause) => element(
                   "li", {}, swatch(cause.colour), cause.label)));
}

function causesFigure(report) {
  const ids = report.policies.map((policy) => policy.id);
  const causesOf = (id) => report.results[id].causes_pct;
  return figure({
    caption: "This run, by policy",
    note: `${report.model.name}, ${report.inputs.trace.name}`,
    describe: "Stacked bars of the share of the pool that each of eleven " +
      "causes takes.",
    config: {
      type: "bar",
      legend: false,
      data: {
        labels: ids,
        datasets: CAUSES.map((cause) => ({
          label: cause.label, colour: cause.colour,
          data: ids.map((id) => causesOf(id)[cause.key]),
        })),
      },
      scales: { x: { stacked: true }, y: percentAxis("% of the pool") },
      tooltip: inPercent,
    },
    makeTable: () => table(
      "Share of the pool by cause, in percent; each column sums to 100",
      ["cause", ...ids, "meaning"],
      CAUSES.map((cause) => [cause.label,
                             ...ids.map((id) => number(causesOf(id)[cause.key], 2)),
                             cause.words])),
  });
}

function paperFigure() {
  return figure({
    caption: "The PagedAttention paper, Fig. 2",
    note: "published figures, not of this run: OPT-13B, ShareGPT, a pool of " +
      "15.7K slots, a saturated queue",
    describe: "Stacked bars of the shares that the paper gives for Orca (Max), " +
      "Orca (Pow2), Orca (Oracle) and vLLM.",
    config: {
      type: "bar",
      data: {
        labels: PAPER_SYSTEMS.map((system) => system.name),
        datasets: PAPER_PARTS.map(([label, own], i) => ({
          label, colour: own,
          data: PAPER_SYSTEMS.map((system) => system.parts[i]),
        })),
      },
      scales: { x: { stacked: true }, y: percentAxis("% of the pool") },
      tooltip: inPercent,
    },
    makeTable: () => table(
      "Kwon et al., SOSP 2023, Fig. 2, in percent of the pool",
      ["system", ...PAPER_PARTS.map(([label]) => label)],
      PAPER_SYSTEMS.map((system) => [
        system.name, ...system.parts.map((part) => number(part, 1))])),
  });
}

function showCauses(report) {
  addSection(
    "causes", "Where the memory goes",
    element("p", {}, "Each slot of the pool has one cause at any moment, and " +
            "the eleven sum to the pool exactly. Reserved, internal, round-up, " +
            "watermark, blocked by fragmentation and tail are waste; cached and " +
            "idle, idle, and blocked by capacity or limits are not."),
    causeLegend(),
    element("div", { class: "side-by-side" },
            causesFigure(report), paperFigure()));
}
