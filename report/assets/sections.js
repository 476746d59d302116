// Sections that come as data: a note, tables of text, values with intervals, points.

function scatterChart({ title, x_label, y_label, points, log_x }) {
  const at = (value) => (log_x ? Math.log10(Math.max(value, 1e-9)) : value);
  const xs = points.map((point) => at(point.x)), ys = points.map((point) => point.y);
  const room = (low, high) => (high - low || Math.abs(high) || 1) * 0.08;
  const [lowX, highX, lowY, highY] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const x = scale(lowX - room(lowX, highX), highX + room(lowX, highX), PAD.left, WIDTH - PAD.right);
  const y = scale(lowY - room(lowY, highY), highY + room(lowY, highY), HEIGHT - PAD.bottom, PAD.top);
  const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `${title}: ${points.map((point) => `${point.name} ${short(point.x)}, ${short(point.y)}`).join("; ")}` });
  frame(root, x, y, log_x ? [] : ticks(lowX, highX, 6), ticks(lowY, highY, 5), x_label);
  if (log_x) {
    for (let power = Math.ceil(lowX); power <= highX; power++) {
      root.append(svg("text", { x: x(power), y: HEIGHT - PAD.bottom + 16, "text-anchor": "middle" }, short(10 ** power)));
    }
  }
  points.forEach((point, i) => {
    const group = svg("g", {},
      svg("circle", { cx: x(at(point.x)), cy: y(point.y), r: 5, fill: `var(--m${i % 7})` }),
      svg("text", { x: x(at(point.x)) + 7, y: y(point.y) - 6 }, point.name));
    group.addEventListener("pointermove", (event) => showTooltip(event.clientX, event.clientY, point.name,
      [[x_label, short(point.x)], [y_label, number(point.y)]]));
    group.addEventListener("pointerleave", hideTooltip);
    root.append(group);
  });
  return el("figure", {}, el("h3", {}, `${title} (${y_label})`), root);
}

function drawSections() {
  for (const each of data.sections) {
    const body = section(each.key, each.title, each.note);
    body.append(...each.warnings.map((warning) => el("p", { class: "note" }, `⚠ ${warning}`)));
    for (const { caption, header, rows } of each.tables) {
      const cells = rows.map((row) => el("tr", {}, el("th", { scope: "row" }, row[0]),
        row.slice(1).map((cell) => el("td", {}, cell))));
      body.append(el("h3", {}, caption), table(caption, header.map((title) => [title]), cells));
    }
    const charts = [
      ...each.dots.map(({ title, unit, rows }) =>
        intervalChart(title, rows.map((row, i) => ({ ...row, color: `var(--m${i % 7})` })), unit)),
      ...each.scatters.map(scatterChart),
    ];
    if (charts.length) body.append(el("div", { class: "charts" }, charts));
  }
}
