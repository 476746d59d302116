// Puts the page together and redraws what a switch changes.

const CURVES = [
  ["train_loss", "Training loss"], ["val_next_step_acc", "Next-step accuracy"],
  ["val_next_step_nll", "Negative log-likelihood"], ["val_time_pred_mape", "Travel-time MAPE (log1p)"],
  ["val_time_pred_mape_seconds", "Travel-time MAPE (seconds)"], ["val_kl", "KL to the teacher"],
];

const sources = Object.keys(data.sources);
const state = {
  source: sources[0], model: models[0], view: "trip", trip: null, traffic: "difference",
  hidden: new Set(), scenarioMeasure: PLOTTED.includes("hausdorff_km") ? "hausdorff_km" : PLOTTED[0],
};

const runsOf = (source) => data.runs.filter((run) => run.source === source);
const currentRun = () => runsOf(state.source).find((run) => run.model === state.model) || runsOf(state.source)[0];

function summarize() {
  const trips = data.runs.reduce((sum, run) => sum + run.generated_trips, 0);
  const real = Object.values(data.sources).reduce((sum, source) => sum + source.real_trips, 0);
  const many = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;
  document.getElementById("summary").textContent =
    `${many(models.length, "model")}, ${many(trips, "generated trip")} against ${many(real, "real one")} on ${many(data.network.vertices_of_road.length, "road")}`;
}

const overview = section("overview", "Models side by side",
  "Divergences (JSD) compare all trips as distributions; Hausdorff, DTW and EDR compare trips between the same two grid cells. Below each value its 95 % bootstrap interval; the floor of a divergence is what two samples of the real trips differ by; ▸ marks the best.");
const mapBody = section("map", "Trips on the map",
  "Drag to move; click the map and scroll to zoom. Keyboard: arrow keys, +, − and 0. Hover a road for its values.");
const distributionBody = section("distributions", "Distributions",
  "Share of values per bin. Bins run from 0 to the real maximum.");
const measureBody = section("measures", "Measures with their intervals", "Dots are the values, bars the 95 % bootstrap intervals; a stroke is the floor of a divergence, what two samples of the real trips differ by.");
const scenarioBody = section("scenarios", "Scenarios");
const comparisonBody = data.comparisons.length ? section("comparison", "Paired comparison",
  "Tests on the OD pairs that two models share. A negative change favours the second model.") : null;
const curveBody = data.curves.length ? section("curves", "Learning curves") : null;

function drawOverview() {
  const runs = runsOf(state.source);
  const legend = data.comparisons.length ? el("p", { class: "note" }, data.marks_legend) : null;
  overview.replaceChildren(modelsTable(runs, state.source), legend);
}

// The map and the controls beside it.
const canvas = el("canvas", { tabindex: "0", role: "application",
  "aria-label": "Road map. Arrow keys move, plus and minus zoom, 0 shows everything." });
const mapLegend = el("div", { class: "map-legend" });
const panel = el("div", { class: "panel" });
const button = (title, text, onclick) => el("button", { type: "button", title, "aria-label": title, onclick }, text);
mapBody.append(el("div", { class: "map-layout" },
  el("div", { class: "map-frame" }, canvas, mapLegend, el("div", { class: "map-buttons" },
    button("Zoom in", "+", () => roadMap.zoom(1.4)), button("Zoom out", "−", () => roadMap.zoom(1 / 1.4)),
    button("Show everything", "⤢", () => roadMap.fitAll()))), panel));
const roadMap = new RoadMap(canvas, hoverRoad);

function shownTrips() {
  const run = currentRun(), source = data.sources[state.source];
  if (source.trips.length) return source.trips.map((real, i) => ({ real, generated: run.trips[i] }));
  return run.unpaired.map((generated) => ({ real: null, generated }));
}

function tripTitle({ real, generated }) {
  if (!real) return `generated trip ${generated.index}`;
  if (!generated) return `trip ${real.index}, not matched`;
  return `trip ${real.index}, Hausdorff ${number(generated.values.hausdorff_km, 3)} km`;
}

function drawPanel() {
  const trips = shownTrips();
  const model = select("model-choice", "Model", runsOf(state.source).map((run) => [run.model, run.model]), currentRun().model,
    (value) => { state.model = value; drawMap(false); });
  const view = el("fieldset", { class: "segments" }, el("legend", {}, "Show"));
  segments(view, "view", [["trip", "One trip"], ["traffic", "All traffic"]], state.view, (value) => { state.view = value; drawMap(true); });
  panel.replaceChildren(model.field, view);
  if (state.view === "traffic") {
    const kind = el("fieldset", { class: "segments" }, el("legend", {}, "Traffic"));
    segments(kind, "traffic", [["real", "Real"], ["generated", "Generated"], ["difference", "Difference"]], state.traffic,
      (value) => { state.traffic = value; drawMap(false); });
    panel.append(kind);
    return;
  }
  if (!trips.length) {
    panel.append(el("p", { class: "empty" }, "There are no trips to show."));
    return;
  }
  state.trip = Math.min(state.trip ?? Math.floor(trips.length / 2), trips.length - 1);
  const go = (step) => { state.trip = Math.max(0, Math.min(trips.length - 1, state.trip + step)); drawMap(true); };
  const choice = select("trip-choice", `Trip (${trips.length} of ${whole(currentRun().pairs || currentRun().generated_trips)}, best match first)`,
    trips.map((trip, i) => [i, tripTitle(trip)]), state.trip, (value) => { state.trip = Number(value); drawMap(true); });
  const previous = button("Previous trip", "‹", () => { go(-1); panel.querySelector("#previous-trip").focus(); });
  const next = button("Next trip", "›", () => { go(1); panel.querySelector("#next-trip").focus(); });
  previous.id = "previous-trip"; next.id = "next-trip";
  const label = choice.field.firstChild;
  panel.append(el("div", { class: "field" }, label, el("div", { class: "row" }, previous, choice.box, next)), tripValues(trips[state.trip]));
}

function tripValues({ real, generated }) {
  const list = el("dl", {});
  const add = (name, value) => list.append(el("dt", {}, name), el("dd", {}, value));
  if (real) { add("Starts", clock(real.start).slice(0, 16)); add("Roads, real", whole(real.roads.length)); add("Minutes, real", number(real.seconds.at(-1) / 60, 1)); }
  if (generated) { add("Roads, generated", whole(generated.roads.length)); add("Minutes, generated", number(generated.seconds.at(-1) / 60, 1)); }
  if (real && generated) {
    const shared = new Set(real.roads);
    add("Roads in common", whole(new Set(generated.roads.filter((road) => shared.has(road))).size));
    for (const [key, value] of Object.entries(generated.values)) {
      const info = measureInfo(key);
      add(info.unit ? `${info.title}, ${info.unit}` : info.title, number(value, 3));
    }
  }
  if (!generated) list.append(el("dt", {}, "This model made no trip for this OD pair."), el("dd", {}, ""));
  return list;
}

function legendEntry(color, text) {
  return el("span", {}, swatch(color), text);
}

function drawMap(refit) {
  drawPanel();
  if (state.view === "traffic") { drawTraffic(refit); return; }
  const { real, generated } = shownTrips()[state.trip] || {};
  const layers = [], entries = [];
  if (real) {
    layers.push({ path: roadMap.pathOf(real.roads), roads: real.roads, color: style("--real"), width: 9, alpha: 0.42 });
    entries.push(legendEntry("var(--real)", "real"));
  }
  if (generated) {
    layers.push({ path: roadMap.pathOf(generated.roads), roads: generated.roads, color: canvasColor(currentRun().model), width: 3.4 });
    entries.push(legendEntry(modelColor(currentRun().model), currentRun().model));
  }
  const ends = real || generated;
  if (ends) layers.push({ marker: { first: ends.roads[0], last: ends.roads.at(-1) }, color: style("--ink"), width: 1 });
  mapLegend.replaceChildren(...entries, el("span", {}, "● start"), el("span", {}, "■ end"));
  roadMap.show(layers, refit ? [...(real ? real.roads : []), ...(generated ? generated.roads : [])] : null);
}

function trafficShares() {
  const share = (counts) => { const sum = counts.reduce((a, b) => a + b, 0) || 1; return counts.map((count) => count / sum); };
  return { real: share(data.sources[state.source].traffic), generated: share(currentRun().traffic) };
}

function drawTraffic(refit) {
  const { real, generated } = trafficShares();
  const color = canvasColor(currentRun().model);
  const strength = real.map((value, road) =>
    state.traffic === "real" ? value : state.traffic === "generated" ? generated[road] : generated[road] - value);
  const top = strength.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
  const classes = new Map();
  strength.forEach((value, road) => {
    const level = Math.ceil(8 * Math.sqrt(Math.abs(value) / top));
    if (!level) return;
    const key = value < 0 || state.traffic === "real" ? -level : level;
    if (!classes.has(key)) classes.set(key, []);
    classes.get(key).push(road);
  });
  const layers = [...classes.entries()].sort((a, b) => Math.abs(a[0]) - Math.abs(b[0])).map(([level, roads]) => ({
    path: roadMap.pathOf(roads), roads, color: level < 0 ? style("--real") : color, width: 0.9 * Math.abs(level), alpha: 0.85,
  }));
  layers.push(centreLayer());
  const entries = {
    real: [legendEntry("var(--real)", "real traffic")],
    generated: [legendEntry(modelColor(currentRun().model), `traffic of ${currentRun().model}`)],
    difference: [legendEntry("var(--real)", "too few generated"), legendEntry(modelColor(currentRun().model), "too many generated")],
  }[state.traffic];
  mapLegend.replaceChildren(...entries, el("span", {}, "◌ centre of the scenarios"));
  roadMap.show(layers, null);
  if (refit) roadMap.fitAll();
}

function centreLayer() {
  const { lat, lon, radius_km: radius } = data.sources[state.source].centre;
  const path = new Path2D();
  path.arc(roadMap.geo.toX(lon), roadMap.geo.toY(lat), radius * roadMap.geo.perKm, 0, 2 * Math.PI);
  return { path, color: style("--soft"), width: 1.2, dash: [5, 5] };
}

function hoverRoad(road, x, y) {
  const network = data.network, lines = [["type", network.type_names[network.type[road]]], ["length", `${whole(network.length_m[road])} m`]];
  if (state.view === "trip") {
    const { real, generated } = shownTrips()[state.trip] || {};
    for (const [trip, name, color] of [[real, "real", "var(--real)"], [generated, currentRun().model, modelColor(currentRun().model)]]) {
      const step = trip ? trip.roads.indexOf(road) : -1;
      if (step >= 0) lines.push([name, `step ${step + 1} of ${trip.roads.length}, ${clock(trip.start + trip.seconds[step]).slice(11)}`, color]);
    }
  } else {
    const percent = (counts) => `${(100 * counts[road]).toFixed(3)} %`;
    const shares = trafficShares();
    lines.push(["real", percent(shares.real), "var(--real)"], [currentRun().model, percent(shares.generated), modelColor(currentRun().model)]);
  }
  showTooltip(x, y, `Road ${road}`, lines);
}

// Distributions: bins are joined where there are few trips, so that the shape can be seen.
function grouped(counts, size) {
  const total = counts.reduce((a, b) => a + b, 0) || 1, shares = [];
  for (let i = 0; i + size <= counts.length - 1; i += size) {
    shares.push((100 * counts.slice(i, i + size).reduce((a, b) => a + b, 0)) / total);
  }
  return { shares, above: (100 * counts.at(-1)) / total };
}

// Times are whole seconds, and bins of a few seconds do not all hold the same number of them.
function perWholeSecond(series, width) {
  for (const each of series) {
    each.points = each.points.map(([at, share]) => {
      const seconds = Math.ceil((at + width / 2) * 60 - 1e-6) - Math.ceil((at - width / 2) * 60 - 1e-6);
      return [at, seconds ? share / seconds : null];
    });
  }
}

function distributionChart([key, title, unit], runs) {
  const shown = runs.filter((run) => run.distributions[key]);
  if (!shown.length) return el("p", { class: "empty" }, `${title}: no values`);
  const { edges, real } = shown[0].distributions[key];
  const total = real.reduce((a, b) => a + b, 0);
  const width0 = edges[1] - edges[0];
  const size = [1, 3, 9].find((bins) => (total > 6000 / bins ** 2 && (key !== "duration" || width0 * bins > 0.03)) || bins === 9);
  const all = [{ name: "real trips", color: "var(--real)", fill: "var(--real-fill)", ...grouped(real, size) },
    ...shown.filter((run) => !state.hidden.has(run.model)).map((run) =>
      ({ name: run.model, color: modelColor(run.model), ...grouped(run.distributions[key].generated, size) }))];
  let last = all[0].shares.length;
  while (last > 5 && all.every((each) => each.shares.slice(last - 1).reduce((a, b) => a + b, 0) < 0.5)) last--;
  const centre = (i) => (edges[i * size] + edges[Math.min((i + 1) * size, edges.length - 1)]) / 2;
  const series = all.map((each) => ({ ...each, step: true, points: each.shares.slice(0, last).map((share, i) => [centre(i), share]) }));
  const width = width0 * size;
  if (key === "duration") perWholeSecond(series, width);
  const yUnit = key === "duration" ? "% per second" : "%";
  const tail = all.map((each) => `${each.name} ${(each.above + each.shares.slice(last).reduce((a, b) => a + b, 0)).toFixed(1)} %`);
  return lineChart({
    title, series, zero: true, xLabel: unit, yLabel: yUnit, caption: `Beyond the right edge: ${tail.join(", ")}`,
    xText: (at) => `${short(at - width / 2)} to ${short(at + width / 2)} ${unit}`, yText: (value) => `${number(value, 2)} ${yUnit}`,
  });
}

function drawDistributions() {
  const runs = runsOf(state.source);
  const legend = el("div", { class: "legend", role: "group", "aria-label": "Models shown" },
    el("span", { class: "pill" }, swatch("var(--real)"), "real trips"),
    runs.map((run) => el("button", { type: "button", "aria-pressed": String(!state.hidden.has(run.model)), onclick: (event) => {
      if (!state.hidden.delete(run.model)) state.hidden.add(run.model);
      event.currentTarget.setAttribute("aria-pressed", String(!state.hidden.has(run.model)));
      charts.replaceChildren(...QUANTITIES.map((quantity) => distributionChart(quantity, runs)));
    } }, swatch(modelColor(run.model)), run.model)));
  const charts = el("div", { class: "charts" }, QUANTITIES.map((quantity) => distributionChart(quantity, runs)));
  distributionBody.replaceChildren(legend, charts, el("div", { class: "gap" }), meansTable(runs));
}

function drawMeasures() {
  const runs = runsOf(state.source);
  measureBody.replaceChildren(el("div", { class: "charts" }, PLOTTED.map((key) => {
    const rows = runs.map((run) => {
      const [value, low, high] = run.measures[key] || [null, null, null];
      return { name: run.model, color: modelColor(run.model), value, low, high, floor: floorOf(run.measures, key) };
    });
    return intervalChart(measureInfo(key).title, rows, measureInfo(key).unit);
  })));
}

function drawScenarios() {
  const choice = select("scenario-measure", "Measure", PLOTTED.map((key) => [key, measureInfo(key).title]), state.scenarioMeasure,
    (value) => { state.scenarioMeasure = value; holder.replaceChildren(scenarioTable(runsOf(state.source), value)); });
  const holder = el("div", {}, scenarioTable(runsOf(state.source), state.scenarioMeasure));
  scenarioBody.replaceChildren(el("div", { class: "controls" }, choice.field), holder);
}

function drawComparison() {
  if (!comparisonBody) return;
  const found = data.comparisons.find((each) => each.source === state.source);
  comparisonBody.replaceChildren(found && found.rows.length ? comparisonTable(found)
    : el("p", { class: "empty" }, "No two models have an OD pair in common here."));
}

function drawCurves() {
  if (!curveBody) return;
  const charts = CURVES.filter(([key]) => data.curves.some((curve) => curve.epochs.some((row) => typeof row[key] === "number")))
    .map(([key, title]) => lineChart({
      title, xLabel: "epoch", xText: (at) => `epoch ${at}`, yText: (value) => (value === null ? "–" : number(value)),
      series: data.curves.map((curve, k) => ({
        name: curve.name, color: models.includes(curve.name) ? modelColor(curve.name) : `var(--m${(k + 1) % 7})`,
        points: curve.epochs.map((row, i) => [row.epoch ?? i, row[key] ?? null]),
      })).filter((series) => series.points.some(([, value]) => value !== null)),
    }));
  const legend = el("div", { class: "legend" }, data.curves.map((curve, k) =>
    el("span", { class: "pill" }, swatch(models.includes(curve.name) ? modelColor(curve.name) : `var(--m${(k + 1) % 7})`), curve.name)));
  curveBody.replaceChildren(legend, el("div", { class: "charts" }, charts));
}

function drawAll() {
  drawOverview(); drawMap(true); drawDistributions(); drawMeasures(); drawScenarios(); drawComparison(); drawCurves();
}

const sourceChoice = document.getElementById("source-choice");
segments(sourceChoice, "source", sources.map((source) => [source, source]), state.source, (value) => { state.source = value; state.trip = null; drawAll(); });
sourceChoice.hidden = sources.length < 2;

const themeButton = document.getElementById("theme");
function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  themeButton.setAttribute("aria-pressed", String(dark));
  drawMap(false);
}
themeButton.addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
summarize();
drawSections();
drawAll();
setTheme(window.matchMedia("(prefers-color-scheme: dark)").matches);
