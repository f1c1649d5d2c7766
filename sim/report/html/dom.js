// SPDX-License-Identifier: Apache-2.0
// How the page is built: elements, tables and figures. Text from outside only
// ever becomes the text of an element, never markup.
"use strict";

// The JSON text of the page's data block of that name; null if there is none.
function readData(id) {
  const block = document.getElementById(id);
  return block === null ? null : JSON.parse(block.textContent);
}

// An element with attributes and children; strings become text.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// A number for people: digits grouped, `decimals` of them behind the point; a
// dash where there is none.
function number(value, decimals = 0) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en-US", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

// A number of any size with about four digits.
function plainNumber(value) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en-US", { maximumSignificantDigits: 4 });
}

// A table that scrolls by itself. A row is a list of cells; the first names the
// row. A cell is text, or an element.
function table(caption, head, rows) {
  const body = rows.map((cells) => element("tr", {}, ...cells.map(
    (cell, i) => element(i === 0 ? "th" : "td", i === 0 ? { scope: "row" } : {},
                         cell))));
  return element(
    "div", { class: "scroll", tabindex: "0", role: "region",
             "aria-label": caption },
    element("table", {}, element("caption", {}, caption),
            element("thead", {}, element("tr", {}, ...head.map(
              (cell) => element("th", { scope: "col" }, cell)))),
            element("tbody", {}, ...body)));
}

// A disclosure whose content is made when it is first opened, and by `refresh`
// if it is open.
function disclosure(label, makeContent, open = false) {
  const details = element("details", open ? { open: "" } : {},
                          element("summary", {}, label));
  let content = null;
  const show = () => {
    const fresh = makeContent();
    if (content === null) details.append(fresh);
    else content.replaceWith(fresh);
    content = fresh;
  };
  details.addEventListener("toggle", () => {
    if (details.open && content === null) show();
  });
  if (open) show();
  details.refresh = () => {
    if (content !== null) show();
  };
  return details;
}

// A section of the page, and its entry in the contents.
function addSection(id, title, ...children) {
  document.getElementById("main").append(
    element("section", { id, "aria-labelledby": `${id}-title` },
            element("h2", { id: `${id}-title` }, title), ...children));
  const contents = document.getElementById("contents");
  if (contents.firstChild === null) contents.append(element("ul"));
  contents.firstChild.append(
    element("li", {}, element("a", { href: `#${id}` }, title)));
}

// A choice of one of several names; `onChoose` gets the chosen one.
function choice(label, names, onChoose) {
  const select = element("select", {}, ...names.map(
    (name) => element("option", { value: name }, name)));
  select.addEventListener("change", () => onChoose(select.value));
  return element("label", {}, `${label} `, select);
}

function swatch(variable) {
  const box = element("span", { class: "swatch", "aria-hidden": "true" });
  box.style.background = `var(${variable})`;
  return box;
}
