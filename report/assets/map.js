// The road map: one trip real and generated, or the traffic of all. Drawn on a canvas, so that
// fifty thousand roads stay smooth; everything on it can also be reached with the keyboard.

const MAJOR = /motorway|trunk|primary/;
const MEDIUM = /secondary|tertiary/;

function unpackNetwork(network) {
  const count = network.lon.length;
  const lon = new Float64Array(count), lat = new Float64Array(count);
  let x = 0, y = 0, minX = Infinity, maxX = -Infinity, minY = Infinity, maxY = -Infinity;
  for (let i = 0; i < count; i++) {
    x += network.lon[i]; y += network.lat[i];
    lon[i] = x / 1e6; lat[i] = y / 1e6;
    minX = Math.min(minX, lon[i]); maxX = Math.max(maxX, lon[i]);
    minY = Math.min(minY, lat[i]); maxY = Math.max(maxY, lat[i]);
  }
  const squeeze = Math.cos(((minY + maxY) / 2) * Math.PI / 180);
  const scale = 1000 / Math.max((maxX - minX) * squeeze, maxY - minY, 1e-9);
  const toX = (degrees) => (degrees - minX) * squeeze * scale;
  const toY = (degrees) => (maxY - degrees) * scale;
  const px = Float64Array.from(lon, toX), py = Float64Array.from(lat, toY);
  const offsets = new Int32Array(network.vertices_of_road.length + 1);
  network.vertices_of_road.forEach((vertices, road) => { offsets[road + 1] = offsets[road] + vertices; });
  return {
    px, py, offsets, toX, toY, roads: network.vertices_of_road.length,
    width: toX(maxX), height: toY(minY), perKm: scale / 111.32, network,
  };
}

class RoadMap {
  constructor(canvas, onhover) {
    this.canvas = canvas;
    this.onhover = onhover;
    this.geo = unpackNetwork(data.network);
    this.layers = [];
    this.view = { x: 0, y: 0, k: 1 };
    this.base = this.basePaths();
    this.listen();
    new ResizeObserver(() => { this.resize(); }).observe(canvas);
    this.resize();
    this.fitAll();
  }

  basePaths() {
    const paths = { minor: new Path2D(), medium: new Path2D(), major: new Path2D() };
    for (let road = 0; road < this.geo.roads; road++) {
      const type = this.geo.network.type_names[this.geo.network.type[road]];
      this.trace(paths[MAJOR.test(type) ? "major" : MEDIUM.test(type) ? "medium" : "minor"], road);
    }
    return paths;
  }

  trace(path, road) {
    const { px, py, offsets } = this.geo;
    path.moveTo(px[offsets[road]], py[offsets[road]]);
    for (let i = offsets[road] + 1; i < offsets[road + 1]; i++) path.lineTo(px[i], py[i]);
  }

  pathOf(roads) {
    const path = new Path2D();
    for (const road of roads) this.trace(path, road);
    return path;
  }

  show(layers, fitRoads) {
    this.layers = layers;
    if (fitRoads && fitRoads.length) this.fit(fitRoads);
    else this.draw();
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width) return;
    const middle = this.size ? this.toWorld(this.size.w / 2, this.size.h / 2) : null;
    this.size = { w: box.width, h: box.height };
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    if (middle) this.centre(middle.x, middle.y);
    this.draw();
  }

  toWorld(x, y) {
    return { x: (x - this.view.x) / this.view.k, y: (y - this.view.y) / this.view.k };
  }

  centre(x, y) {
    this.view.x = this.size.w / 2 - x * this.view.k;
    this.view.y = this.size.h / 2 - y * this.view.k;
  }

  fitBox(x0, y0, x1, y1, margin) {
    const wide = Math.max(x1 - x0, 1e-6), high = Math.max(y1 - y0, 1e-6);
    this.view.k = Math.min((this.size.w - 2 * margin) / wide, (this.size.h - 2 * margin) / high, 60);
    this.centre((x0 + x1) / 2, (y0 + y1) / 2);
    this.draw();
  }

  fitAll() {
    this.fitBox(0, 0, this.geo.width, this.geo.height, 24);
  }

  fit(roads) {
    let x0 = Infinity, y0 = Infinity, x1 = -Infinity, y1 = -Infinity;
    for (const road of roads) {
      for (let i = this.geo.offsets[road]; i < this.geo.offsets[road + 1]; i++) {
        x0 = Math.min(x0, this.geo.px[i]); x1 = Math.max(x1, this.geo.px[i]);
        y0 = Math.min(y0, this.geo.py[i]); y1 = Math.max(y1, this.geo.py[i]);
      }
    }
    this.fitBox(x0, y0, x1, y1, 70);
  }

  zoom(factor, x = this.size.w / 2, y = this.size.h / 2) {
    const k = Math.min(80, Math.max(0.15, this.view.k * factor));
    const at = this.toWorld(x, y);
    this.view = { k, x: x - at.x * k, y: y - at.y * k };
    this.draw();
  }

  pan(dx, dy) {
    this.view.x += dx; this.view.y += dy;
    this.draw();
  }

  draw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = null; this.paint(); });
  }

  paint() {
    const context = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    const { x, y, k } = this.view;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = style("--map");
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(ratio * k, 0, 0, ratio * k, ratio * x, ratio * y);
    context.lineJoin = context.lineCap = "round";
    const grow = Math.min(2.2, Math.max(0.7, Math.sqrt(k)));
    for (const [name, width] of [["minor", 0.8], ["medium", 1.4], ["major", 2.2]]) {
      context.strokeStyle = style(`--road-${name}`);
      context.lineWidth = (width * grow) / k;
      context.stroke(this.base[name]);
    }
    for (const layer of this.layers) this.paintLayer(context, layer, k);
  }

  paintLayer(context, layer, k) {
    context.globalAlpha = layer.alpha || 1;
    context.strokeStyle = context.fillStyle = layer.color;
    context.setLineDash(layer.dash ? layer.dash.map((part) => part / k) : []);
    context.lineWidth = layer.width / k;
    if (layer.path) context.stroke(layer.path);
    if (layer.marker) {
      const { px, py, offsets } = this.geo;
      const first = offsets[layer.marker.first], last = offsets[layer.marker.last + 1] - 1;
      const r = 6 / k;
      context.beginPath();
      context.arc(px[first], py[first], r, 0, 2 * Math.PI);
      context.fill();
      context.fillRect(px[last] - r, py[last] - r, 2 * r, 2 * r);
      context.strokeStyle = style("--card");
      context.lineWidth = 1.6 / k;
      context.stroke();
      context.strokeRect(px[last] - r, py[last] - r, 2 * r, 2 * r);
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  nearest(x, y) {
    const at = this.toWorld(x, y), { px, py, offsets, roads } = this.geo;
    const reach = 9 / this.view.k;
    const highlighted = new Set(this.layers.flatMap((layer) => layer.roads || []));
    let best = null, bestDistance = reach * reach, bestIsHighlighted = false;
    for (let road = 0; road < roads; road++) {
      const preferred = highlighted.has(road);
      if (bestIsHighlighted && !preferred) continue;
      for (let i = offsets[road]; i < offsets[road + 1] - 1; i++) {
        if (Math.min(px[i], px[i + 1]) > at.x + reach || Math.max(px[i], px[i + 1]) < at.x - reach) continue;
        const dx = px[i + 1] - px[i], dy = py[i + 1] - py[i];
        const along = Math.max(0, Math.min(1, ((at.x - px[i]) * dx + (at.y - py[i]) * dy) / (dx * dx + dy * dy || 1)));
        const ex = at.x - px[i] - along * dx, ey = at.y - py[i] - along * dy;
        const distance = ex * ex + ey * ey;
        if (distance < bestDistance || (preferred && !bestIsHighlighted && distance < reach * reach)) {
          best = road; bestDistance = distance; bestIsHighlighted = preferred;
        }
      }
    }
    return best;
  }

  listen() {
    const canvas = this.canvas;
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, y: event.clientY };
      canvas.setPointerCapture(event.pointerId);
      canvas.classList.add("dragging");
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drag) {
        this.pan(event.clientX - drag.x, event.clientY - drag.y);
        drag = { x: event.clientX, y: event.clientY };
        hideTooltip();
        return;
      }
      const box = canvas.getBoundingClientRect();
      const road = this.nearest(event.clientX - box.left, event.clientY - box.top);
      if (road === null) hideTooltip();
      else this.onhover(road, event.clientX, event.clientY);
    });
    const release = () => { drag = null; canvas.classList.remove("dragging"); };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", hideTooltip);
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas && !event.altKey) return;
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = 60;
      const action = {
        ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0),
        ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
        "+": () => this.zoom(1.3), "=": () => this.zoom(1.3), "-": () => this.zoom(1 / 1.3),
        0: () => this.fitAll(),
      }[event.key];
      if (!action || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      action();
    });
  }
}
