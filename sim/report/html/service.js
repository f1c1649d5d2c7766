// SPDX-License-Identifier: Apache-2.0
// What a report says beyond memory: the prefix cache, service and cost, the
// replicas of a fleet, the groups of a hybrid model.
"use strict";

const HIT_RATES = [
  ["block_weighted", "by blocks"],
  ["token_weighted", "by tokens"],
  ["request_mean", "mean of requests"],
  ["belady_bound", "optimum, by blocks"],
  ["infinite_bound", "unbounded, by blocks"],
];

function showPrefixCache(report) {
  const ids = report.policies.filter((policy) => policy.prefix_cache)
    .map((policy) => policy.id);
  if (ids.length === 0) return;
  const rateIn = (id, key) => {
    const rate = report.results[id].hit[key];
    return rate === null ? null : 100 * rate;
  };
  addSection("prefix-cache", "Prefix cache", figure({
    caption: "Hit rate", note: "prompts found when they were first admitted; " +
      "the optimum knows the future",
    describe: "Bars of hit rates by three weights, beside what no policy beats.",
    config: {
      type: "bar",
      data: {
        labels: ids,
        datasets: HIT_RATES.map(([key, label], i) => ({
          label, colour: lineColour(i), data: ids.map((id) => rateIn(id, key)),
        })),
      },
      scales: { x: {}, y: axis("%", { min: 0 }) },
      tooltip: inPercent,
    },
    makeTable: () => table(
      "Hit rate in percent", ["policy", ...HIT_RATES.map(([, label]) => label)],
      ids.map((id) => [id, ...HIT_RATES.map(
        ([key]) => number(rateIn(id, key), 2))])),
  }));
}

function serviceTable(report) {
  const rows = report.policies.map(({ id }) => {
    const { throughput, goodput, cost } = report.results[id];
    return [id, plainNumber(throughput?.output_tokens_per_s),
            plainNumber(throughput?.requests_per_s),
            number(goodput?.requests_pct, 2), plainNumber(cost.gpu_equiv),
            number(cost.usd, 2),
            number(cost.usd_per_million_output_tokens, 2)];
  });
  return table("Service and cost", [
    "policy", "output tokens/s", "requests/s", "goodput %",
    "GPUs that waste would fill", "USD wasted",
    "USD per million output tokens"], rows);
}

// The slowest first tokens of one policy; null where there is no latency.
function slowestTable(report, id) {
  const latency = report.results[id].latency ?? null;
  if (latency === null || latency.worst_ttft.length === 0) return null;
  return table(`The requests of ${id} that waited longest for a token`,
               ["request", "prompt", "output", "preemptions", "queue s",
                "first token s"],
               latency.worst_ttft.map((request) => [
                 number(request.id), number(request.prompt),
                 number(request.output), number(request.preemptions),
                 plainNumber(request.queue_s), plainNumber(request.ttft_s)]));
}

function showFleet(report) {
  const rows = report.policies.flatMap(({ id }) =>
    (report.results[id].replicas ?? []).map((replica, i) => [
      `${id}, replica ${i}`, number(replica.routed),
      number(replica.routed_prompt_tokens), number(replica.finished),
      number(replica.lost), number(replica.preemptions),
      number(100 * replica.hit_token_weighted, 2)]));
  if (rows.length === 0) return;
  addSection("fleet", "Replicas", table(
    "Percentages and batches of a policy are means over its replicas", [
      "replica", "requests routed", "prompt tokens", "finished", "lost",
      "preemptions", "hits, % of tokens"], rows));
}

function showKvCacheGroups(report) {
  const groups = report.kv_cache_groups ?? null;
  if (groups === null) return;
  const row = (name, layers, use) => [
    name, layers, number(use.held_bytes), number(use.needed_bytes),
    number(use.wasted_pct, 2)];
  addSection(
    "kv-cache-groups", "KV cache groups",
    element("p", {}, "What a sequence holds and needs in the mean, each at its " +
            "last token: by blocks of one size for all groups, and by what " +
            "each group would need of its own."),
    table("Bytes of a sequence", ["group", "layers", "held", "needed",
                                  "wasted %"], [
      ...groups.groups.map((group) => row(group.attention, number(group.layers),
                                          group.final_length)),
      row("all groups", "", groups.all.final_length),
      row("without groups", "", groups.uniform.final_length)]));
}
