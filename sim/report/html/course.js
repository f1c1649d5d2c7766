// SPDX-License-Identifier: Apache-2.0
// The run over time: causes stacked, and the queue beneath.
"use strict";

// Both charts have their plots at the same place, so that times line up.
const AXIS_WIDTH = 70;
const fixedWidth = (scale) => { scale.width = AXIS_WIDTH; };

function timeLabel(report) {
  return report.clock.kind === "iteration" ? "step" : "seconds";
}

const points = (course, values) =>
  course.t_s.map((t, i) => ({ x: t, y: values[i] }));

const causeShare = (course, key) => course.causes[key].map(
  (slots, i) => course.capacity[i] > 0 ? 100 * slots / course.capacity[i] : 0);

function courseData(course) {
  return {
    datasets: CAUSES.map((cause) => ({
      label: cause.label, colour: cause.colour, data: points(
        course, causeShare(course, cause.key)),
      fill: true, pointRadius: 0, borderWidth: 0, pointHitRadius: 4,
    })),
  };
}

function queueData(course) {
  const line = { pointRadius: 0, borderWidth: 2 };
  return {
    datasets: [
      { ...line, label: "waiting", colour: "--line-1", yAxisID: "y",
        data: points(course, course.waiting) },
      { ...line, label: "resident", colour: "--line-0", yAxisID: "right",
        data: points(course, course.running) },
      { ...line, label: "preemptions", colour: "--line-3", yAxisID: "right",
        borderDash: [4, 3], data: points(course, course.preemptions) },
    ],
  };
}

function courseTable(report, id, course) {
  const row = (t, i) => [
    plainNumber(t),
    ...CAUSES.map((cause) => number(causeShare(course, cause.key)[i], 1)),
    number(course.waiting[i], 1), number(course.running[i], 1),
    number(course.preemptions[i])];
  return table(
    `${id}: means inside windows of ${plainNumber(course.window_s)} ` +
      `${timeLabel(report) === "step" ? "steps" : "s"}; causes in percent of ` +
      "the pool",
    [timeLabel(report), ...CAUSES.map((cause) => cause.label), "waiting",
     "resident", "preemptions"],
    course.t_s.map(row));
}

function showCourse(report, courses) {
  const ids = report.policies.map((policy) => policy.id)
    .filter((id) => courses[id] !== undefined);
  if (ids.length === 0) return;
  let shown = ids[0];
  const timeAxis = (title) => ({ ...(title ? axis(title) : {}), type: "linear",
                                 bounds: "data" });
  const title = (items) => items.length === 0 ? ""
    : `${timeLabel(report)} ${plainNumber(items[0].parsed.x)}`;
  const memory = figure({
    caption: "Memory over time",
    describe: "Stacked areas of the eleven causes.",
    config: {
      type: "line", legend: false, data: courseData(courses[shown]),
      scales: { x: timeAxis(), y: { ...percentAxis("% of the pool"),
                                    afterFit: fixedWidth },
                right: { position: "right", display: true, afterFit: fixedWidth,
                         ticks: { display: false },
                         grid: { drawOnChartArea: false, drawTicks: false } } },
      tooltip: {
        title,
        label: (item) => `${item.dataset.label}: ${number(item.raw.y, 2)} %`,
      },
    },
    makeTable: () => courseTable(report, shown, courses[shown]),
  });
  const queue = figure({
    caption: "Queue and batch over time", low: true,
    describe: "Lines of waiting requests, resident sequences and preemptions.",
    config: {
      type: "line", data: queueData(courses[shown]),
      scales: {
        x: timeAxis(timeLabel(report)),
        y: axis("waiting", { beginAtZero: true, afterFit: fixedWidth }),
        right: axis("resident", { position: "right", beginAtZero: true,
                                  afterFit: fixedWidth,
                                  grid: { drawOnChartArea: false } }),
      },
      tooltip: {
        title,
        label: (item) => `${item.dataset.label}: ${number(item.raw.y, 1)}`,
      },
    },
    makeTable: () => table(
      `${shown}: the queue`,
      [timeLabel(report), "waiting", "resident", "preemptions"],
      courses[shown].t_s.map((t, i) => [
        plainNumber(t), number(courses[shown].waiting[i], 1),
        number(courses[shown].running[i], 1),
        number(courses[shown].preemptions[i])])),
  });
  const choose = (id) => {
    shown = id;
    memory.redraw(courseData(courses[id]));
    queue.redraw(queueData(courses[id]));
  };
  addSection("course", "Over time",
             element("div", { class: "controls" },
                     choice("Policy", ids, choose)),
             causeLegend(), memory, queue);
}
