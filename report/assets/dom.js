// Making elements, formatting numbers, the tooltip. Text from the data only ever becomes text.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function apply(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "color") element.style.background = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function el(tag, attributes, ...children) {
  return apply(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return apply(document.createElementNS(SVG, tag), attributes, children);
}

function number(value, digits = 4) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function whole(value) {
  return value.toLocaleString("en-US");
}

function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1);
  if (size >= 100) return value.toFixed(0);
  return String(Number(value.toPrecision(3)));
}

function clock(seconds) {
  return new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 19);
}

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const models = [...new Set(data.runs.map((run) => run.model))];

function modelColor(model) {
  return `var(--m${models.indexOf(model) % 7})`;
}

function canvasColor(model) {
  return style(`--m${models.indexOf(model) % 7}`);
}

function swatch(color) {
  return el("span", { class: "swatch", color, "aria-hidden": "true" });
}

const tooltip = document.getElementById("tooltip");

function showTooltip(x, y, title, lines) {
  tooltip.replaceChildren(
    el("b", {}, title),
    ...lines.map(([name, value, color]) =>
      el("div", { class: "line" }, el("span", {}, color ? swatch(color) : null, name), el("span", {}, value))),
  );
  tooltip.hidden = false;
  const box = tooltip.getBoundingClientRect();
  const left = x + 16 + box.width > window.innerWidth ? x - box.width - 12 : x + 16;
  const top = y + 16 + box.height > window.innerHeight ? y - box.height - 12 : y + 16;
  tooltip.style.left = `${Math.max(4, left)}px`;
  tooltip.style.top = `${Math.max(4, top)}px`;
}

function hideTooltip() {
  tooltip.hidden = true;
}

function segments(fieldset, name, options, chosen, onchange) {
  const row = el("div", { class: "options" });
  for (const [value, text] of options) {
    const input = el("input", { type: "radio", name, value, onchange: () => onchange(value) });
    input.checked = value === chosen;
    row.append(el("label", {}, input, el("span", {}, text)));
  }
  const legend = fieldset.querySelector("legend");
  fieldset.replaceChildren(legend, row);
}

function select(id, title, options, chosen, onchange) {
  const box = el("select", { id, onchange: (event) => onchange(event.target.value) });
  for (const [value, text] of options) box.append(el("option", { value }, text));
  if (chosen !== null) box.value = chosen;
  return { box, field: el("div", { class: "field" }, el("label", { for: id }, title), box) };
}

function section(id, title, note) {
  const box = el("section", { id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, title), note ? el("p", { class: "note" }, note) : null);
  document.getElementById("main").append(box);
  const body = el("div", {});
  box.append(body);
  return body;
}

function measureInfo(key) {
  return data.measures.find((measure) => measure.key === key);
}
