// The tables: models side by side, scenarios, paired tests.

const keysOf = (wanted) => data.measures.filter(wanted).map((measure) => measure.key);
const HEADLINE = keysOf((measure) => measure.headline);
const PLOTTED = keysOf((measure) => measure.plotted);
const FURTHER = keysOf((measure) => !measure.headline);
const QUANTITIES = data.quantities;

function table(caption, header, rows) {
  const head = el("tr", {}, header.map(([title, unit, kind]) =>
    el("th", { scope: "col", class: kind }, title, unit ? el("small", {}, unit) : null)));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("thead", {}, head), el("tbody", {}, rows)));
}

function valueCell([value, low, high], digits, extra, best) {
  const between = low === null || low === undefined ? null : el("small", {}, `${number(low, digits)} … ${number(high, digits)}`);
  return el("td", { class: best ? "best" : null }, number(value, digits), extra, between);
}

function floorOf(measures, key) {
  const floor = measures[measureInfo(key).floor];
  return floor && floor[0] !== null ? floor[0] : null;
}

function floorNote(measures, key) {
  const floor = floorOf(measures, key);
  return floor === null ? null : el("small", {}, `floor ${number(floor)}`);
}

function bestOf(values, smaller) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (known.length < 2 || smaller === null) return null;
  const best = smaller ? Math.min(...known) : Math.max(...known);
  return known.every((value) => value === best) ? null : best;
}

function markOf(source, model, measure) {
  const comparison = data.comparisons.find((each) => each.source === source);
  if (!comparison || model === comparison.models[0]) return null;
  const found = comparison.marks[`${comparison.models[0]}\n${model}\n${measure}`];
  if (!found || !found.mark) return null;
  const text = `${found.better ? "better" : "worse"} than ${comparison.models[0]}`;
  return el("span", { class: "stars", title: text }, ` ${found.mark}`, el("span", { class: found.better ? "better" : "worse" }, found.better ? "↓" : "↑"));
}

function known(runs, keys) {
  return keys.filter((key) => runs.some((run) => run.measures[key] && run.measures[key][0] !== null));
}

function modelsTable(runs, source) {
  const columns = known(runs, HEADLINE);
  const best = Object.fromEntries(columns.map((key) =>
    [key, bestOf(runs.map((run) => run.measures[key] && run.measures[key][0]), measureInfo(key).smaller_is_better)]));
  const rows = runs.map((run) => el("tr", {},
    el("th", { scope: "row" }, swatch(modelColor(run.model)), run.model),
    columns.map((key) => {
      const entry = run.measures[key] || [null, null, null];
      const extra = [markOf(source, run.model, key), floorNote(run.measures, key)];
      return valueCell(entry, 4, extra, best[key] !== null && entry[0] === best[key]);
    }),
    el("td", {}, whole(run.generated_trips)), el("td", {}, whole(run.pairs))));
  const header = [["Model"], ...columns.map((key) => [measureInfo(key).title, measureInfo(key).unit]), ["Trips"], ["Pairs"]];
  return table("Models side by side", header, rows);
}

function meansTable(runs) {
  const mean = (run, key) => run.measures[key] ? number(run.measures[key][0]) : "–";
  const further = known(runs, FURTHER);
  const real = el("tr", {}, el("th", { scope: "row" }, swatch("var(--real)"), "real trips"),
    QUANTITIES.map(([key]) => el("td", {}, mean(runs[0], `${key}_real_mean`))), further.map(() => el("td", {}, "")));
  const rows = runs.map((run) => el("tr", {}, el("th", { scope: "row" }, swatch(modelColor(run.model)), run.model),
    QUANTITIES.map(([key]) => el("td", {}, mean(run, `${key}_gen_mean`))), further.map((key) => valueCell(run.measures[key], 4, floorNote(run.measures, key)))));
  const header = [["Means"], ...QUANTITIES.map(([, title, unit]) => [title, unit]),
    ...further.map((key) => [measureInfo(key).title, measureInfo(key).unit])];
  return table("Means and further measures", header, [real, ...rows]);
}

function scenarioTable(runs, measure) {
  const info = measureInfo(measure);
  const rows = Object.keys(data.scenarios).map((name) => {
    const found = runs.map((run) => run.scenarios[name]);
    const values = found.map((each) => each.measures[measure] || [null, null, null]);
    const best = bestOf(values.map(([value]) => value), info.smaller_is_better);
    return el("tr", {},
      el("th", { scope: "row" }, name.replaceAll("_", " "), el("small", { class: "note" }, ` ${data.scenarios[name]}`)),
      el("td", {}, whole(found[0].real_trips)),
      values.map((entry, i) => {
        const cell = valueCell(entry, 4, floorNote(found[i].measures, measure), best !== null && entry[0] === best);
        cell.title = `${whole(found[i].generated_trips)} generated trips, ${whole(found[i].pairs)} pairs`;
        return cell;
      }));
  });
  const header = [["Scenario"], ["Real trips"], ...runs.map((run) => [run.model])];
  return table(`${info.title} by scenario`, header, rows);
}

function comparisonTable(comparison) {
  const textual = new Set(["models", "measure", "test"]);
  const header = comparison.header.map((title) => [title, null, textual.has(title) ? "text" : null]);
  const rows = comparison.rows.map((row) => el("tr", {}, row.map((cell, i) =>
    el("td", { class: i === row.length - 1 ? "stars" : textual.has(comparison.header[i]) ? "text" : null }, cell))));
  return table("Paired comparison of models", header, rows);
}
