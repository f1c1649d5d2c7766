// SPDX-License-Identifier: Apache-2.0
// Charts in the page's colours. Each stands in a figure with its table; without
// Chart.js the table stands alone.
"use strict";

const HAS_CHARTS = typeof Chart !== "undefined";
const charts = [];

function colour(variable) {
  return getComputedStyle(document.documentElement)
    .getPropertyValue(variable).trim();
}

function lineColour(index) {
  return `--line-${index % 6}`;
}

// A dataset keeps the name of its colour, since the theme may change.
function paint(chart) {
  const options = chart.options;
  const text = colour("--text");
  const grid = colour("--line");
  for (const dataset of chart.data.datasets) {
    const own = colour(dataset.colour);
    dataset.backgroundColor = own;
    dataset.borderColor = dataset.edge === undefined ? own : colour(dataset.edge);
  }
  for (const scale of Object.values(options.scales)) {
    scale.ticks = { ...scale.ticks, color: text };
    scale.grid = { ...scale.grid, color: grid, borderColor: grid };
    if (scale.title) scale.title.color = text;
  }
  options.plugins.legend.labels.color = text;
  // Not update("none"), which leaves the bars as they were.
  chart.update();
}

function repaintAll() {
  for (const chart of charts) paint(chart);
  document.dispatchEvent(new Event("repaint"));
}

// Puts other figures in the place of those inside `holder`.
function replaceFigures(holder, ...figures) {
  for (let i = charts.length; i-- > 0;) {
    if (!holder.contains(charts[i].canvas)) continue;
    charts[i].destroy();
    charts.splice(i, 1);
  }
  holder.replaceChildren(...figures);
}

// Arrow keys move through the points as the mouse does.
function addKeys(canvas, chart) {
  let index = -1;
  const show = () => {
    const active = chart.data.datasets
      .map((dataset, datasetIndex) => ({ datasetIndex, index }))
      .filter((each) => chart.isDatasetVisible(each.datasetIndex) &&
              index < chart.data.datasets[each.datasetIndex].data.length);
    chart.setActiveElements(active);
    chart.tooltip.setActiveElements(active, { x: 0, y: 0 });
    chart.update("none");
  };
  canvas.addEventListener("keydown", (event) => {
    const points =
      Math.max(0, ...chart.data.datasets.map((each) => each.data.length));
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined || points === 0) return;
    event.preventDefault();
    index = Math.min(points - 1, Math.max(0, index + step));
    show();
  });
  canvas.addEventListener("blur", () => {
    chart.setActiveElements([]);
    chart.tooltip.setActiveElements([], { x: 0, y: 0 });
    chart.update("none");
    index = -1;
  });
}

// A figure: caption, chart, and the table of its numbers, made by `makeTable`.
// Its `redraw` shows other `datasets` and `labels`.
function figure({ caption, note = "", describe, config, makeTable, low = false }) {
  const made = element("figure", {}, element(
    "figcaption", {}, caption,
    note === "" ? null : element("span", { class: "soft" }, ` ${note}`)));
  const details = disclosure("Table", makeTable, !HAS_CHARTS);
  made.redraw = () => details.refresh();
  if (HAS_CHARTS) {
    const canvas = element("canvas", {
      role: "img", tabindex: "0",
      "aria-label": `${caption}. ${describe} Arrow keys show the numbers; ` +
        "the table below has all of them.",
    });
    made.append(element("div", { class: low ? "plot low" : "plot" }, canvas));
    const chart = new Chart(canvas, completed(config));
    charts.push(chart);
    addKeys(canvas, chart);
    paint(chart);
    made.redraw = (data) => {
      chart.data = data;
      paint(chart);
      details.refresh();
    };
  }
  made.append(details);
  return made;
}

function completed({ type, data, scales, legend = true, tooltip = {},
                     mode = "index", indexAxis = "x" }) {
  return {
    type, data,
    options: {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      indexAxis,
      interaction: { mode, intersect: false,
                     axis: indexAxis },
      scales,
      plugins: {
        legend: { display: legend, position: "bottom",
                  labels: { boxWidth: 12 } },
        tooltip: { callbacks: tooltip },
      },
    },
  };
}

// What most axes need.
function axis(title, more = {}) {
  return { title: { display: true, text: title }, ...more };
}

// Dark and light: as the system has it, until the reader chooses. Paper is
// white.
function setUpTheme() {
  if (HAS_CHARTS) {
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  }
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  let chosen = null;
  const apply = () => {
    const dark = chosen === null ? system.matches : chosen === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.textContent = dark ? "Light colours" : "Dark colours";
    repaintAll();
  };
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    apply();
  });
  system.addEventListener("change", apply);
  matchMedia("print").addEventListener("change", () => {
    for (const chart of charts) chart.resize();
    repaintAll();
  });
  apply();
}
