// Line charts and interval charts as SVG, with a cursor that follows the mouse or the arrow keys.

const WIDTH = 420, HEIGHT = 230, PAD = { left: 46, right: 10, top: 16, bottom: 36 };

function ticks(low, high, count) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= count);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

function scale(low, high, from, to) {
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

function frame(root, x, y, xTicks, yTicks, xLabel) {
  const bottom = HEIGHT - PAD.bottom;
  for (const value of yTicks) {
    root.append(
      svg("line", { class: "grid", x1: PAD.left, x2: WIDTH - PAD.right, y1: y(value), y2: y(value) }),
      svg("text", { x: PAD.left - 7, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  for (const value of xTicks) {
    root.append(svg("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, short(value)));
  }
  root.append(
    svg("line", { class: "axis", x1: PAD.left, x2: WIDTH - PAD.right, y1: bottom, y2: bottom }),
    svg("text", { x: (PAD.left + WIDTH - PAD.right) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, xLabel));
}

function pathText(series, x, y, bottom) {
  const points = series.points.filter(([, value]) => value !== null && value !== undefined);
  if (!points.length) return null;
  if (!series.step) return points.map(([at, value], i) => `${i ? "L" : "M"}${x(at)},${y(value)}`).join("");
  const half = points.length > 1 ? (points[1][0] - points[0][0]) / 2 : 0.5;
  const steps = points.map(([at, value]) => `L${x(at - half)},${y(value)}L${x(at + half)},${y(value)}`).join("");
  return `M${x(points[0][0] - half)},${bottom}${steps}L${x(points.at(-1)[0] + half)},${bottom}`;
}

// series: [{name, color, points: [[x, y]], step, fill}]; all of them share their x positions.
function lineChart({ title, series, xLabel, yLabel, caption, xText, yText, zero }) {
  const positions = [...new Set(series.flatMap((each) => each.points.map(([at]) => at)))].sort((a, b) => a - b);
  const values = series.flatMap((each) => each.points.map(([, value]) => value))
    .filter((value) => value !== null && value !== undefined);
  const half = series.some((each) => each.step) && positions.length > 1 ? (positions[1] - positions[0]) / 2 : 0;
  const single = positions.length === 1 ? 0.5 : 0;
  const lowX = positions[0] - half - single, highX = positions.at(-1) + half + single;
  let lowY = zero ? 0 : Math.min(...values), highY = Math.max(...values);
  if (lowY === highY) { lowY -= zero ? 0 : Math.abs(lowY) * 0.1 || 0.5; highY += Math.abs(highY) * 0.1 || 0.5; }
  else if (!zero) { const room = (highY - lowY) * 0.06; lowY -= room; highY += room; }
  else highY *= 1.04;
  const bottom = HEIGHT - PAD.bottom;
  const x = scale(lowX, highX, PAD.left, WIDTH - PAD.right), y = scale(lowY, highY, bottom, PAD.top);
  const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0",
    "aria-label": `${title}: ${series.map((each) => each.name).join(", ")}. Arrow keys read the values.` });
  const whole = positions.every(Number.isInteger) && highX - lowX < 12;
  const xTicks = whole ? positions : ticks(lowX, highX, 6);
  frame(root, x, y, xTicks, ticks(lowY, highY, 5), xLabel);
  if (yLabel) root.append(svg("text", { x: PAD.left - 40, y: PAD.top - 2 }, yLabel));
  for (const each of series) {
    const d = pathText(each, x, y, bottom);
    if (!d) continue;
    root.append(svg("path", { d, fill: each.fill || "none", stroke: each.color, "stroke-width": each.fill ? 1.3 : 1.9, "stroke-linejoin": "round" }));
    if (!each.step) {
      for (const [at, value] of each.points) {
        if (value !== null && value !== undefined) root.append(svg("circle", { cx: x(at), cy: y(value), r: 2.6, fill: each.color }));
      }
    }
  }
  addCursor(root, positions, x, series, title, xText, yText);
  return el("figure", {}, el("h3", {}, title), root, caption ? el("figcaption", {}, caption) : null);
}

function addCursor(root, positions, x, series, title, xText, yText) {
  const cursor = svg("line", { class: "cursor", y1: PAD.top, y2: HEIGHT - PAD.bottom, visibility: "hidden" });
  root.append(cursor);
  let index = null;
  const show = (next, pageX, pageY) => {
    index = Math.max(0, Math.min(positions.length - 1, next));
    const at = positions[index];
    cursor.setAttribute("x1", x(at)); cursor.setAttribute("x2", x(at));
    cursor.setAttribute("visibility", "visible");
    const lines = series.map((each) => {
      const found = each.points.find(([where]) => where === at);
      return [each.name, found ? yText(found[1]) : "–", each.color];
    });
    showTooltip(pageX, pageY, `${title}, ${xText(at)}`, lines);
  };
  const hide = () => { cursor.setAttribute("visibility", "hidden"); hideTooltip(); };
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    const where = ((event.clientX - box.left) / box.width) * WIDTH;
    let nearest = 0;
    positions.forEach((at, i) => { if (Math.abs(x(at) - where) < Math.abs(x(positions[nearest]) - where)) nearest = i; });
    show(nearest, event.clientX, event.clientY);
  });
  root.addEventListener("pointerleave", hide);
  root.addEventListener("blur", hide);
  root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const box = root.getBoundingClientRect();
    const next = index === null ? (step > 0 ? 0 : positions.length - 1) : index + step;
    const clamped = Math.max(0, Math.min(positions.length - 1, next));
    show(next, box.left + (x(positions[clamped]) / WIDTH) * box.width, box.top + box.height / 3);
  });
}

// rows: [{name, color, value, low, high}]
function intervalChart(title, rows, unit) {
  const known = rows.filter((row) => row.value !== null && row.value !== undefined);
  const height = 30 + rows.length * 30;
  const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img",
    "aria-label": `${title}: ${known.map((row) => `${row.name} ${number(row.value)}`).join(", ")}` });
  const floors = rows.filter((row) => row.floor !== null && row.floor !== undefined);
  const names = Math.min(150, Math.max(50, ...rows.map((row) => row.name.length * 7)));
  let low = Math.min(...known.map((row) => row.low ?? row.value), ...floors.map((row) => row.floor));
  let high = Math.max(...known.map((row) => row.high ?? row.value), ...floors.map((row) => row.floor));
  if (!(high > low)) { low -= Math.abs(low) * 0.1 || 0.5; high += Math.abs(high) * 0.1 || 0.5; }
  const x = scale(low, high, names + 14, WIDTH - 14);
  for (const value of known.length ? ticks(low, high, 4) : []) {
    root.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: 2, y2: height - 22 }),
      svg("text", { x: x(value), y: height - 7, "text-anchor": "middle" }, short(value)));
  }
  rows.forEach((row, i) => {
    const y = 17 + i * 30;
    const name = row.name.length > 21 ? `${row.name.slice(0, 20)}…` : row.name;
    root.append(svg("text", { class: "name", x: names, y: y + 4, "text-anchor": "end" }, name));
    if (row.value === null || row.value === undefined) {
      root.append(svg("text", { x: names + 14, y: y + 4 }, "no value"));
      return;
    }
    const group = svg("g", {});
    if (row.low !== null && row.low !== undefined) {
      group.append(svg("line", { x1: x(row.low), x2: x(row.high), y1: y, y2: y, stroke: row.color, "stroke-width": 3, "stroke-linecap": "round", opacity: 0.55 }));
    }
    group.append(svg("circle", { cx: x(row.value), cy: y, r: 5, fill: row.color }),
      svg("rect", { x: names, y: y - 14, width: WIDTH - names, height: 28, fill: "transparent" }));
    const lines = [["value", number(row.value)]];
    if (floors.includes(row)) {
      group.append(svg("line", { class: "floor", x1: x(row.floor), x2: x(row.floor), y1: y - 9, y2: y + 9 }));
      lines.push(["floor", number(row.floor)]);
    }
    if (row.low !== null && row.low !== undefined) lines.push(["95 % interval", `${number(row.low)} … ${number(row.high)}`]);
    group.addEventListener("pointermove", (event) => showTooltip(event.clientX, event.clientY, `${row.name}: ${title}`, lines));
    group.addEventListener("pointerleave", hideTooltip);
    root.append(group);
  });
  return el("figure", {}, el("h3", {}, unit ? `${title} (${unit})` : title), root);
}
