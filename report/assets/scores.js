// The page of scores: the strangest trips, each on the map with its surprise along the way.

const SHADES = ["#4575b4", "#91bfdb", "#fee090", "#fc8d59", "#d73027"];
const state = { model: data.runs[0].model, trip: 0 };
const currentRun = () => data.runs.find((run) => run.model === state.model);
const percent = (share) => `${(100 * share).toFixed(share > 0.999 ? 2 : 1)} %`;
const shadeOf = (nats) => SHADES[[0.7, 1.6, 3, 5].filter((edge) => nats > edge).length];

document.getElementById("source-choice").hidden = true;
document.getElementById("summary").textContent =
  `${whole(data.num_trips)} trips, ${whole(data.runs.length)} ways to score them; an alarm is a trip stranger than ${percent(1 - data.alarm_rate)} of comparable normal ones`;

const theme = document.getElementById("theme");
theme.addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  theme.setAttribute("aria-pressed", String(dark));
  drawTrip(false);
});

function plainTable(caption, header, rows) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("thead", {}, el("tr", {}, header.map((title) => el("th", { scope: "col" }, title)))),
      el("tbody", {}, rows)));
}

const mapBody = section("map", "The strangest trips",
  "Colour is the surprise of turning onto a road, from usual (blue) to strange (red); dashed is the way that was to be expected. Drag to move; click the map and scroll to zoom. Keyboard: arrow keys, +, − and 0.");
const canvas = el("canvas", { tabindex: "0", role: "application", "aria-label": "Road map. Arrow keys move, plus and minus zoom, 0 shows everything." });
const mapLegend = el("div", { class: "map-legend" });
const panel = el("div", { class: "panel" });
const button = (title, text, onclick) => el("button", { type: "button", title, "aria-label": title, onclick }, text);
mapBody.append(el("div", { class: "map-layout" },
  el("div", { class: "map-frame" }, canvas, mapLegend, el("div", { class: "map-buttons" },
    button("Zoom in", "+", () => roadMap.zoom(1.4)), button("Zoom out", "−", () => roadMap.zoom(1 / 1.4)),
    button("Show everything", "⤢", () => roadMap.fitAll()))), panel));
const profile = el("figure", {});
mapBody.append(profile);
const roadMap = new RoadMap(canvas, hoverRoad);
const listBody = section("list", "Trips by percentile", "The share of comparable normal trips that are less surprising. Choose a trip to see it on the map.");

if (data.study.length) {
  const body = section("detection", "How well anomalies are found",
    "ROC-AUC / PR-AUC by kind and strength: the chance that an anomalous trip scores higher than a normal one, and the mean precision. Trips not changed are the normal ones.");
  for (const { title, header, rows } of data.study)
    body.append(el("h3", {}, title), plainTable(title, header, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))))));
}

const chosen = () => currentRun().trips[state.trip];

function hoverRoad(road, x, y) {
  const trip = data.trips[chosen().trip], at = trip.roads.lastIndexOf(road);
  const lines = [["type", data.network.type_names[data.network.type[road]]], ["length", `${whole(data.network.length_m[road])} m`]];
  if (at > 0 && chosen().surprise) lines.push(["surprise", `${number(chosen().surprise[at - 1], 2)} nats`]);
  showTooltip(x, y, `Road ${road}`, lines);
}

function drawTrip(refit) {
  const found = chosen(), trip = data.trips[found.trip];
  const layers = [];
  if (trip.expected) layers.push({ path: roadMap.pathOf(trip.expected), color: style("--real"), width: 2.4, dash: [7, 5] });
  const classes = new Map();
  trip.roads.forEach((road, place) => {
    const shade = place && found.surprise ? shadeOf(found.surprise[place - 1]) : SHADES[0];
    if (!classes.has(shade)) classes.set(shade, []);
    classes.get(shade).push(road);
  });
  for (const shade of SHADES)
    if (classes.has(shade)) layers.push({ path: roadMap.pathOf(classes.get(shade)), roads: classes.get(shade), color: shade, width: 5.5, alpha: 0.9 });
  layers.push({ marker: { first: trip.roads[0], last: trip.roads.at(-1) }, color: style("--ink"), width: 1 });
  const entries = SHADES.map((shade, i) => el("span", {}, swatch(shade), ["usual", "", "odd", "", "strange"][i]));
  mapLegend.replaceChildren(...entries, el("span", {}, "● start"), el("span", {}, "■ end"));
  roadMap.show(layers, refit ? [...trip.roads, ...(trip.expected || [])] : null);
  drawPanel(found, trip);
  drawProfile(found);
}

function drawPanel(found, trip) {
  const model = select("model-choice", "Scored by", data.runs.map((run) => [run.model, run.model]), state.model,
    (value) => { state.model = value; state.trip = 0; drawList(); drawTrip(true); });
  const choice = select("trip-choice", `Trip (${currentRun().trips.length}, the strangest first)`,
    currentRun().trips.map((each, i) => [i, `trip ${each.trip_number}, ${percent(each.percentile)}`]), state.trip,
    (value) => { state.trip = Number(value); drawTrip(true); });
  const list = el("dl", {});
  const add = (name, value) => list.append(el("dt", {}, name), el("dd", {}, value));
  add("Starts", clock(trip.start).slice(0, 16));
  add("Roads", whole(trip.roads.length));
  add("Minutes", number(trip.seconds.at(-1) / 60, 1));
  for (const [name, share] of Object.entries(found.percentiles)) add(`Percentile, ${name}`, percent(share));
  if (found.label) add("Label", found.label);
  panel.replaceChildren(model.field, choice.field, list);
}

function drawProfile(found) {
  if (!found.surprise) { profile.replaceChildren(); return; }
  const width = 1000, height = 130, step = width / Math.max(found.surprise.length, 1);
  const top = Math.max(4, ...found.surprise);
  const bars = found.surprise.map((nats, i) => svg("rect", {
    x: i * step, width: Math.max(step - 1, 0.5), y: height - (nats / top) * height, height: (nats / top) * height, fill: shadeOf(nats) },
    svg("title", {}, `turn ${i + 1}: ${number(nats, 2)} nats`)));
  profile.replaceChildren(
    svg("svg", { viewBox: `0 -6 ${width} ${height + 24}`, role: "img", "aria-label": "Surprise along the way" },
      svg("line", { class: "axis", x1: 0, x2: width, y1: height, y2: height }), bars,
      svg("text", { x: 0, y: height + 15 }, "start"), svg("text", { x: width, y: height + 15, "text-anchor": "end" }, "end")),
    el("figcaption", {}, `Surprise along the way, at most ${number(Math.max(0, ...found.surprise), 1)} nats a turn`));
}

function drawList() {
  const names = [...new Set(currentRun().trips.flatMap((each) => Object.keys(each.percentiles)))];
  const labelled = currentRun().trips.some((each) => each.label);
  const header = ["trip", "start", "roads", ...names.map((name) => `percentile, ${name}`), "alarm", ...(labelled ? ["label"] : [])];
  const rows = currentRun().trips.map((each, i) => {
    const trip = data.trips[each.trip];
    const show = el("button", { type: "button", onclick: () => { state.trip = i; drawTrip(true); document.getElementById("map").scrollIntoView(); } }, `trip ${each.trip_number}`);
    return el("tr", {}, el("td", {}, show), el("td", {}, clock(trip.start).slice(0, 16)), el("td", {}, whole(trip.roads.length)),
      names.map((name) => el("td", {}, each.percentiles[name] === undefined ? "–" : percent(each.percentiles[name]))),
      el("td", {}, each.alarm ? "yes" : ""), labelled ? el("td", {}, each.label || "") : null);
  });
  const table = plainTable("Trips by percentile", header, rows);
  table.classList.add("tall");
  listBody.replaceChildren(table);
}

drawList();
drawTrip(true);
