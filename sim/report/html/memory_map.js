// SPDX-License-Identifier: Apache-2.0
// The memory map: who holds which slots, frame by frame, of all policies on one
// clock.
"use strict";

// In the order of the recorder's uses. What is waste keeps its cause's colour;
// what is used has its sequence's.
const USES = [
  { label: "tokens, a colour for each sequence" },
  { label: "reserved, the same paler" },
  { label: "internal: never used", colour: "--cause-internal" },
  { label: "round-up", colour: "--cause-roundup" },
  { label: "shared by sequences", colour: "--cause-watermark" },
  { label: "cached, idle", colour: "--cause-cached_idle" },
  { label: "tail, null block", colour: "--cause-tail" },
  { label: "free", colour: "--cause-idle" },
];
const TOKEN = 0;
const RESERVED = 1;
const FREE = 7;
const MAP_COLUMNS = 96;
const PLAY_INTERVAL_MS = 100;

// Frames as arrays of symbols (8 * (owner + 1) + use), from the recorder's
// base64 of changes.
function decodeFrames(map) {
  const bytes = atob(map.data);
  let position = 0;
  const next = () => {
    let value = 0;
    let factor = 1;
    for (;;) {
      const byte = bytes.charCodeAt(position++);
      value += (byte % 128) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
  };
  const cells = new Float64Array(map.cells).fill(FREE);
  return map.frames.map(() => {
    let cell = 0;
    for (let changes = next(); changes > 0; --changes) {
      cell += next();
      const length = next();
      cells.fill(next(), cell, cell + length);
      cell += length;
    }
    return cells.slice();
  });
}

const useOf = (symbol) => symbol % 8;
const ownerOf = (symbol) => Math.floor(symbol / 8) - 1;

// Red, green and blue of a CSS colour.
const parsedColours = new Map();
function rgb(text) {
  if (!parsedColours.has(text)) {
    const context = document.createElement("canvas").getContext(
      "2d", { willReadFrequently: true });
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    parsedColours.set(text, context.getImageData(0, 0, 1, 1).data);
  }
  return parsedColours.get(text);
}

// Sequences that follow each other differ in hue, from blue to violet: warm
// colours are left to waste, and green to what is cached.
function sequenceColour(owner, use, dark) {
  const hue = 190 + (owner * 61.8) % 100;
  const lightness = [34, 44, 54][owner % 3];
  if (use === RESERVED) return `hsl(${hue} 45% ${dark ? 22 : 83}%)`;
  return `hsl(${hue} 65% ${dark ? lightness + 10 : lightness}%)`;
}

function colourOfSymbol(symbol, dark) {
  const use = useOf(symbol);
  return use === TOKEN || use === RESERVED
    ? sequenceColour(ownerOf(symbol), use, dark)
    : colour(USES[use].colour);
}

function describeCell(map, frame, cell) {
  const first = cell * map.cell_slots;
  const last = Math.min(first + map.cell_slots, map.capacity) - 1;
  const symbol = frame[cell];
  const owner = ownerOf(symbol);
  const use = ["tokens", "reserved", "internal", "round-up", "shared",
               "cached, idle", "tail", "free"][useOf(symbol)];
  return `Slots ${number(first)} to ${number(last)}: ${use}` +
    (owner < 0 ? "" : `, request ${number(owner)}`);
}

const FREE_CAUSES = ["watermark", "blocked_fragmented", "blocked_capacity",
                     "blocked_policy", "idle"];
const freeSlots = (frame) => FREE_CAUSES.reduce(
  (sum, cause) => sum + frame.slots[cause], 0);

function describeFrame(map, index) {
  const frame = map.frames[index];
  const share = (key) => number(100 * frame.slots[key] / map.capacity, 1);
  return `${number(frame.running)} resident, ${number(frame.waiting)} waiting; ` +
    `tokens ${share("token")} %, reserved ${share("reserved")} %, internal ` +
    `${share("internal")} %, round-up ${share("roundup")} %, cached ` +
    `${share("cached_idle")} %, free ` +
    `${number(100 * freeSlots(frame) / map.capacity, 1)} %, the largest free ` +
    `piece ${number(frame.largest_free)} slots`;
}

// Who has how much, by what the cells show.
function ownersTable(id, map, frame, when) {
  const owners = new Map();
  for (const symbol of frame) {
    const owner = ownerOf(symbol);
    if (owner < 0) continue;
    if (!owners.has(owner)) owners.set(owner, [0, 0, 0, 0]);
    owners.get(owner)[useOf(symbol)] += map.cell_slots;
  }
  const rows = [...owners].sort((a, b) => a[0] - b[0]);
  return table(
    `${id}, ${when}: slots by request, counted in cells of ` +
      `${number(map.cell_slots)}`,
    ["request", "tokens", "reserved", "internal", "round-up"],
    rows.map(([owner, slots]) => [number(owner), ...slots.map(
      (each) => number(each))]));
}

// One policy's map. `show(t)` shows the last frame that is not after t.
function policyMap(id, map, timeText) {
  const frames = decodeFrames(map);
  const rows = Math.ceil(map.cells / MAP_COLUMNS);
  const canvas = element("canvas", {
    width: MAP_COLUMNS, height: rows, tabindex: "0", role: "img",
    id: `map-${id}`,
  });
  const facts = element("p", { class: "soft" });
  const tip = element("p", { class: "soft tip", "aria-live": "polite" });
  let index = 0;
  let cursor = 0;
  const details = disclosure("Who holds what", () => ownersTable(
    id, map, frames[index], timeText(map.frames[index].t_s)));

  const draw = () => {
    const context = canvas.getContext("2d");
    const image = context.createImageData(MAP_COLUMNS, rows);
    const dark = document.documentElement.dataset.theme === "dark" &&
      !matchMedia("print").matches;
    frames[index].forEach((symbol, cell) => {
      image.data.set(rgb(colourOfSymbol(symbol, dark)), 4 * cell);
    });
    context.putImageData(image, 0, 0);
  };
  const show = (t) => {
    index = Math.max(0, map.frames.findLastIndex((frame) => frame.t_s <= t));
    draw();
    facts.textContent = describeFrame(map, index);
    canvas.setAttribute("aria-label", `Memory map of ${id} at ` +
                        `${timeText(map.frames[index].t_s)}: ` +
                        `${facts.textContent}. Arrow keys read single cells.`);
    details.refresh();
  };
  const point = (cell) => {
    cursor = Math.min(map.cells - 1, Math.max(0, cell));
    tip.textContent = describeCell(map, frames[index], cursor);
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.x) / box.width * MAP_COLUMNS);
    const row = Math.floor((event.clientY - box.y) / box.height * rows);
    point(row * MAP_COLUMNS + column);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -MAP_COLUMNS,
                   ArrowDown: MAP_COLUMNS }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    point(cursor + step);
  });
  document.addEventListener("repaint", draw);
  return {
    made: element("figure", {}, element("figcaption", {}, id), canvas, facts,
                  tip, details),
    show,
  };
}

function sequenceSwatch(owner, use) {
  const box = swatch("");
  box.style.background = sequenceColour(owner, use, false);
  return box;
}

function mapLegend() {
  return element(
    "ul", { class: "legend", "aria-label": "Colours of the memory map" },
    ...USES.map((use, i) => element(
      "li", {}, ...(use.colour === undefined ? [0, 1, 2].map(
        (owner) => sequenceSwatch(owner, i)) : [swatch(use.colour)]),
      use.label)));
}

// Play, pause, and a slider over `times`; `show` gets the time.
function player(times, timeText, show) {
  const slider = element("input", {
    type: "range", id: "map-time", min: "0", max: String(times.length - 1),
    value: "0", "aria-label": "Time of the memory map",
  });
  const time = element("output", { for: "map-time", id: "map-when" });
  const play = element("button", { type: "button", id: "map-play" }, "Play");
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  const showTime = () => {
    const t = times[Number(slider.value)];
    time.textContent =
      `${timeText(t)} (frame ${number(Number(slider.value) + 1)} of ` +
      `${number(times.length)})`;
    slider.setAttribute("aria-valuetext", time.textContent);
    show(t);
  };
  slider.addEventListener("input", () => { stop(); showTime(); });
  play.addEventListener("click", () => {
    if (timer !== null) {
      stop();
      return;
    }
    if (Number(slider.value) === times.length - 1) slider.value = "0";
    play.textContent = "Pause";
    timer = setInterval(() => {
      slider.value = String(Number(slider.value) + 1);
      showTime();
      if (Number(slider.value) === times.length - 1) stop();
    }, PLAY_INTERVAL_MS);
  });
  return {
    made: element("div", { class: "controls" }, play, slider, time),
    showTime, slider,
  };
}

// `maps`: by policy, as the recorder saw it.
function showMemoryMaps(report, maps) {
  const ids = report.policies.map((policy) => policy.id)
    .filter((id) => maps[id] !== undefined);
  if (ids.length === 0) return;
  const timeText = (t) => `${timeLabel(report) === "step" ? "step" : "second"} ` +
    plainNumber(t);
  const times = [...new Set(ids.flatMap(
    (id) => maps[id].frames.map((frame) => frame.t_s)))].sort((a, b) => a - b);
  const policyMaps = ids.map((id) => policyMap(id, maps[id], timeText));
  const made = player(times, timeText, (t) => {
    for (const each of policyMaps) each.show(t);
  });
  const missing = report.policies.map((policy) => policy.id)
    .filter((id) => maps[id] === undefined);
  addSection(
    "memory-map", "Memory map",
    element("p", {}, "Each cell is a run of neighbouring slots, from the top " +
            "left, coloured by what most of them are used for: a sequence's " +
            "own colour for its tokens, warm colours for waste. Press Play, " +
            "or move the slider." + (maps[ids[0]].replicas > 1
              ? ` Of ${number(maps[ids[0]].replicas)} replicas, the first.`
              : "")),
    mapLegend(), made.made,
    element("div", { class: "maps" }, ...policyMaps.map((each) => each.made)),
    missing.length === 0 ? null : element(
      "p", { class: "soft" }, `${missing.join(", ")}: memory is counted and ` +
      "not placed, so there is no map."));
  // The middle: memory is full there, and the page shows something at once.
  made.slider.value = String(Math.floor(times.length / 2));
  made.showTime();
}
