// Charts as inline SVG, drawn at their actual width and redrawn when it changes.

const drawn = new Set();
let printWidth = null;
// In the next frame, because a chart that changes its own height while it is observed is reported as a loop.
const observer = new ResizeObserver((entries) => requestAnimationFrame(() => entries.forEach((entry) => entry.target.redraw())));
window.addEventListener("beforeprint", () => redrawAll(660));
window.addEventListener("afterprint", () => redrawAll(null));

function redrawAll(width) {
  printWidth = width;
  drawn.forEach((plot) => (plot.isConnected ? plot.redraw(true) : drawn.delete(plot)));
}

/* A figure: title, legend, plot, caption, a table of its numbers, and a button that saves it as SVG. */
function figure({ title, caption, legend, draw, numbers, label, below, wide }) {
  const plot = el("div", { class: "plot" });
  let last = 0;
  plot.redraw = (force) => {
    const inPair = !wide && plot.closest(".pair");
    const width = Math.round(printWidth ? (inPair ? printWidth / 2 - 30 : printWidth - 30) : plot.clientWidth);
    if (width < 40 || (width === last && !force)) return;
    last = width;
    plot.replaceChildren(draw(width, plot));
    const picture = plot.querySelector("svg");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", label || title);
  };
  drawn.add(plot);
  observer.observe(plot);
  const node = el("figure", {}, el("h3", {}, title),
    el("button", { type: "button", class: "save", "aria-label": `Save “${title}” as SVG`, onclick: () => save(plot.querySelector("svg"), title) }, "SVG"),
    legend || null, plot, below || null, caption ? el("figcaption", {}, caption) : null);
  if (numbers) {
    const details = el("details", { class: "numbers" }, el("summary", {}, "Numbers"));
    details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(grid(...numbers())); });
    node.append(details);
  }
  return node;
}

function save(picture, title) {
  const copy = picture.cloneNode(true);
  const originals = [picture, ...picture.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((node, i) => {
    const style = getComputedStyle(originals[i]);
    node.setAttribute("style", ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "opacity", "font-size", "font-family", "font-weight", "text-anchor"]
      .map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
  });
  copy.setAttribute("xmlns", SVG);
  const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }));
  const link = el("a", { href: url, download: title.toLowerCase().replace(/[^a-z0-9]+/g, "-") + ".svg" });
  link.click();
  URL.revokeObjectURL(url);
}

function frame(width, height, x, y, { xLabel, yLabel, xFormat = short, yFormat = short, left = 46, right = 12, top = 20, bottom = 36, xTicks, yTicks }) {
  const w = width - left - right, h = height - top - bottom;
  const px = (v) => left + (w * (v - x[0])) / (x[1] - x[0] || 1);
  const py = (v) => top + h - (h * (v - y[0])) / (y[1] - y[0] || 1);
  const root = sv("svg", { viewBox: `0 0 ${width} ${height}`, width, height });
  for (const v of yTicks || ticks(y[0], y[1], Math.max(2, Math.round(h / 42)))) {
    root.append(sv("line", { class: "gridline", x1: left, x2: left + w, y1: py(v), y2: py(v) }),
      sv("text", { x: left - 7, y: py(v) + 3.5, "text-anchor": "end" }, yFormat(v)));
  }
  // Steps are whole numbers.
  for (const v of xTicks || ticks(x[0], x[1], Math.max(2, Math.round(w / 80)), xLabel === "step" ? 1 : 0)) {
    root.append(sv("line", { class: "axis", x1: px(v), x2: px(v), y1: top + h, y2: top + h + 4 }),
      sv("text", { x: px(v), y: top + h + 16, "text-anchor": "middle" }, xFormat(v)));
  }
  root.append(sv("line", { class: "axis", x1: left, x2: left + w, y1: top + h, y2: top + h }),
    sv("text", { x: left + w / 2, y: height - 3, "text-anchor": "middle" }, xLabel || ""),
    sv("text", { x: left - 38, y: 10 }, yLabel || ""));
  return { root, px, py, left, top, w, h };
}

const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)},${b.toFixed(1)}`).join("");

/* Lines over x. series: {label, colour, x, y, low, high, thin: [{x, y}], raw, dash, dots}; refs: {y, label}.
   bands: how many of the lines shown have their band from low to high; more would hide each other. */
function lineChart({ title, caption, series, xLabel, yLabel, yRange, yTicks, refs = [], height = 250, xFormat = short, yFormat = short, label, wide, bands = Infinity }) {
  const hidden = new Set();
  const legend = series.length > 1 ? el("ul", { class: "legend" }, series.map((line, i) => el("li", {}, el("button", {
    type: "button", "aria-pressed": "true",
    onclick: (event) => {
      if (hidden.has(i)) hidden.delete(i); else hidden.add(i);
      event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(i)));
      node.querySelector(".plot").redraw(true);
    },
  }, el("span", { class: line.dash ? "swatch dashed" : "swatch", style: `--s:${line.colour}` }), line.label)))) : null;
  const all = (pick) => series.flatMap(pick).filter(known);
  const node = figure({
    title, caption, legend, wide,
    label: label || `${title}: ${series.map((line) => `${line.label} ends at ${yFormat(line.y[line.y.length - 1])}`).join(", ")}`,
    numbers: () => {
      const xs = [...new Set(series.flatMap((line) => line.x))].sort((a, b) => a - b);
      const lookup = series.map((line) => new Map(line.x.map((v, i) => [v, i])));
      const text = (line, i) => i === undefined ? "–" : fixed(line.y[i], 4) + (line.low && known(line.low[i]) ? ` (${fixed(line.low[i], 4)} to ${fixed(line.high[i], 4)})` : "");
      return [[xLabel, ...series.map((line) => line.label)], xs.map((v) => [xFormat(v), ...series.map((line, k) => text(line, lookup[k].get(v)))])];
    },
    draw: (width, plot) => {
      const shown = series.filter((_, i) => !hidden.has(i));
      const xs = all((line) => [...line.x, ...(line.thin || []).flatMap((t) => t.x)]);
      const ys = shown.flatMap((line) => [...line.y, ...(line.raw || []), ...(line.low || []), ...(line.high || []), ...(line.thin || []).flatMap((t) => t.y)]).filter(known)
        .concat(refs.map((ref) => ref.y).filter(known));
      let range = yRange;
      if (!range) {
        const low = Math.min(...ys), high = Math.max(...ys), room = (span(low, high) || Math.abs(high) || 1) * 0.07;
        range = [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
      }
      const first = Math.min(...xs), last = Math.max(...xs);
      // A single point stands in the middle.
      const x = first < last ? [first, last] : [first - 1, first + 1];
      const marks = yTicks === "whole" ? [...new Set(ticks(range[0], range[1], 5).map(Math.round))] : yTicks;
      const f = frame(width, height, x, range, { xLabel, yLabel, xFormat, yFormat, xTicks: first < last ? null : [first], yTicks: marks });
      for (const ref of refs) {
        f.root.append(sv("line", { x1: f.left, x2: f.left + f.w, y1: f.py(ref.y), y2: f.py(ref.y), style: "stroke:var(--muted)", "stroke-dasharray": "3 3", "stroke-width": 1 }),
          sv("text", { x: f.left + f.w, y: f.py(ref.y) - 4, "text-anchor": "end" }, ref.label));
      }
      for (const [place, line] of shown.entries()) {
        const stroke = `stroke:${line.colour};fill:none`;
        if (line.low && line.low.some(known) && place < bands) {
          const up = line.x.map((v, i) => [f.px(v), f.py(line.high[i])]), down = line.x.map((v, i) => [f.px(v), f.py(line.low[i])]);
          f.root.append(sv("path", { d: path([...up, ...down.reverse()]) + "Z", style: `fill:${line.colour}`, "fill-opacity": 0.16 }));
        }
        for (const thin of line.thin || []) f.root.append(sv("path", { d: path(thin.x.map((v, i) => [f.px(v), f.py(thin.y[i])])), style: stroke, "stroke-width": 1, "stroke-opacity": 0.35 }));
        if (line.raw) line.raw.forEach((v, i) => known(v) && f.root.append(sv("circle", { cx: f.px(line.x[i]), cy: f.py(v), r: 1.4, style: `fill:${line.colour}`, "fill-opacity": 0.5 })));
        const points = line.x.map((v, i) => [f.px(v), f.py(line.y[i]), line.y[i]]).filter((p) => known(p[2]));
        f.root.append(sv("path", { d: path(points), style: stroke, "stroke-width": 2, "stroke-linejoin": "round", "stroke-dasharray": line.dash || null }));
        if ((line.dots && points.length <= 45) || points.length === 1) points.forEach(([a, b]) => f.root.append(sv("circle", { cx: a, cy: b, r: 2.6, style: `fill:${line.colour}` })));
      }
      crosshair(f, plot, shown, xFormat, yFormat, xLabel);
      return f.root;
    },
  });
  return node;
}

/* A line that follows the pointer or the arrow keys and shows the values there. */
function crosshair(f, plot, series, xFormat, yFormat, xLabel) {
  const xs = [...new Set(series.flatMap((line) => line.x))].sort((a, b) => a - b);
  if (!xs.length) return;
  const line = sv("line", { y1: f.top, y2: f.top + f.h, style: "stroke:var(--muted)", "stroke-width": 1, visibility: "hidden" });
  const area = sv("rect", { x: f.left, y: f.top, width: f.w, height: f.h, fill: "transparent", tabindex: 0, "aria-label": "Use the arrow keys to read values" });
  f.root.append(line, area);
  let place = xs.length - 1, tip = null;
  const hide = () => { line.setAttribute("visibility", "hidden"); if (tip) tip.remove(); tip = null; };
  const show = () => {
    hide();
    const at = xs[place], a = f.px(at);
    line.setAttribute("x1", a); line.setAttribute("x2", a); line.setAttribute("visibility", "visible");
    tip = el("div", { class: "tip", role: "status" }, el("b", {}, `${xLabel} ${xFormat(at)}`));
    for (const one of series) {
      let near = 0;
      one.x.forEach((v, i) => { if (Math.abs(v - at) < Math.abs(one.x[near] - at)) near = i; });
      tip.append(el("span", {}, el("span", { class: "swatch", style: `--s:${one.colour}` }), `${one.label} ${yFormat(one.y[near])}`));
    }
    plot.append(tip);
    const scale = plot.clientWidth / f.root.viewBox.baseVal.width;
    const x = a * scale, right = x + tip.offsetWidth + 14 > plot.clientWidth;
    tip.style.left = `${right ? Math.max(0, x - tip.offsetWidth - 10) : x + 10}px`;
    tip.style.top = `${f.top}px`;
  };
  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    const v = xs[0] + ((event.clientX - box.left) / box.width) * (xs[xs.length - 1] - xs[0]);
    place = xs.reduce((best, x, i) => (Math.abs(x - v) < Math.abs(xs[best] - v) ? i : best), 0);
    show();
  });
  area.addEventListener("pointerleave", hide);
  area.addEventListener("blur", hide);
  area.addEventListener("focus", show);
  area.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    place = Math.min(xs.length - 1, Math.max(0, place + by));
    show();
  });
}

const legendOf = (items) => el("ul", { class: "legend" }, items.map(([name, colour, square]) =>
  el("li", { style: "display:inline-flex;align-items:center;gap:.4rem;padding-right:.4rem" }, el("span", { class: square ? "swatch square" : "swatch", style: `--s:${colour}` }), name)));

/* Posterior means of the pool over time, and where the selected tasks are among them. */
function heatMap(heat) {
  const columns = heat.columns, bins = heat.bins;
  const steps = columns.map((c) => c.step);
  const edge = (i) => (i === 0 ? steps[0] : i === steps.length ? steps[i - 1] : (steps[i - 1] + steps[i]) / 2);
  return figure({
    title: "Beliefs over time",
    wide: true,
    caption: "Each column is the distribution of posterior means over the pool. The thin orange lines enclose the middle 80% of the selected tasks' means just before they were observed; the thick line is their median.",
    legend: legendOf([["pool (darker: more tasks)", "var(--heat)", true], ["selected tasks", "var(--mark)"], ["target p*", "var(--ink)"]]),
    label: `Heat map of posterior means at ${steps.length} points of the run, with the selected tasks' range`,
    numbers: () => [["step", "pool below .2", "pool .2 to .8", "pool above .8", "selected: 10%", "median", "90%", "p*"],
      columns.map((c) => {
        const all = c.pool.reduce((a, b) => a + b, 0), k = bins / 5, low = c.pool.slice(0, k).reduce((a, b) => a + b, 0), high = c.pool.slice(-k).reduce((a, b) => a + b, 0);
        return [whole(c.step), percent(low / all), percent(1 - (low + high) / all), percent(high / all), ...(c.quantiles || [null, null, null]).map((q) => fixed(q, 2)), fixed(c.p_star, 2)];
      })],
    draw: (width) => {
      const f = frame(width, 300, [steps[0], steps[steps.length - 1] || 1], [0, 1], { xLabel: "step", yLabel: "posterior mean", yTicks: [0, 0.2, 0.4, 0.6, 0.8, 1] });
      columns.forEach((column, i) => {
        const all = column.pool.reduce((a, b) => a + b, 0), a = f.px(edge(i)), b = f.px(edge(i + 1));
        column.pool.forEach((count, k) => {
          if (!count) return;
          const share = count / all;
          f.root.append(sv("rect", { x: a.toFixed(2), width: Math.max(1, b - a).toFixed(2), y: f.py((k + 1) / bins).toFixed(2), height: (f.h / bins).toFixed(2),
            style: "fill:var(--heat)", "shape-rendering": "crispEdges", "fill-opacity": (0.06 + 0.9 * Math.min(1, share / 0.3) ** 0.6).toFixed(3) }));
        });
      });
      const chosen = columns.filter((c) => c.quantiles);
      const line = (q) => chosen.map((c) => [f.px(c.step), f.py(c.quantiles[q])]);
      if (chosen.length) {
        for (const [colour, wider] of [["--sheet", 2], ["--mark", 0]]) {
          [1.3, 2.4, 1.3].forEach((w, q) => f.root.append(sv("path", { d: path(line(q)), style: `fill:none;stroke:var(${colour})`, "stroke-width": w + wider, "stroke-linejoin": "round" })));
        }
      }
      const target = columns.filter((c) => known(c.p_star));
      f.root.append(sv("path", { d: path(target.map((c) => [f.px(c.step), f.py(c.p_star)])), style: "fill:none;stroke:var(--ink)", "stroke-width": 1.2, "stroke-dasharray": "4 3" }));
      return f.root;
    },
  });
}

/* The same at one step, chosen with a slider. */
function beliefHistogram(heat) {
  let place = heat.columns.length - 1;
  const said = el("output", {});
  const slider = el("input", { type: "range", min: 0, max: heat.columns.length - 1, value: place, "aria-label": "Step",
    oninput: (event) => { place = Number(event.target.value); node.querySelector(".plot").redraw(true); } });
  const node = figure({
    title: "Pool and selected tasks at one step",
    legend: legendOf([["pool", "var(--heat)", true], ["selected since the previous point", "var(--mark)"]]),
    below: el("div", { class: "slider" }, slider, said),
    caption: "Share of tasks by posterior mean.",
    draw: (width) => {
      const column = heat.columns[place], share = (counts) => { const all = counts.reduce((a, b) => a + b, 0); return counts.map((c) => c / all); };
      const pool = share(column.pool), selected = column.selected ? share(column.selected) : null;
      said.textContent = `step ${whole(column.step)}`;
      const top = Math.max(...pool, ...(selected || [0]));
      const f = frame(width, 250, [0, 1], [0, top * 1.08], { xLabel: "posterior mean", yLabel: "share of tasks", yFormat: (v) => percent(v) });
      pool.forEach((v, k) => f.root.append(sv("rect", { x: f.px(k / heat.bins) + 0.5, width: f.w / heat.bins - 1, y: f.py(v), height: f.py(0) - f.py(v), style: "fill:var(--heat)", "fill-opacity": 0.45 })));
      if (selected) {
        const stairs = selected.flatMap((v, k) => [[f.px(k / heat.bins), f.py(v)], [f.px((k + 1) / heat.bins), f.py(v)]]);
        f.root.append(sv("path", { d: path(stairs), style: "fill:none;stroke:var(--mark)", "stroke-width": 2, "stroke-linejoin": "round" }));
      }
      if (known(column.p_star)) f.root.append(sv("line", { x1: f.px(column.p_star), x2: f.px(column.p_star), y1: f.top, y2: f.top + f.h, style: "stroke:var(--ink)", "stroke-dasharray": "4 3" }));
      return f.root;
    },
  });
  return node;
}

/* Predicted against observed pass rates. */
function calibrationChart(diagram, quality) {
  const styles = { "whole run": ["var(--c7)", 0.55], "second half": ["var(--c0)", 1] };
  const said = quality ? ` All predictions of the run: ${Object.entries(quality).map(([name, value]) => `${name} ${fixed(value, 3)}`).join(", ")}.` : "";
  return figure({
    title: "Calibration of the beliefs",
    caption: `Selected tasks, binned by the pass rate that the posterior predicted just before they were observed. On the diagonal, prediction and outcome agree. Area: number of tasks. Bars: conservative 95% intervals.${said}`,
    legend: legendOf(Object.keys(diagram).map((name) => [name, styles[name][0], true])),
    label: "Calibration diagram of predicted against observed pass rates",
    numbers: () => [["part", "tasks", "predicted", "observed", "95% interval"], Object.entries(diagram).flatMap(([name, points]) =>
      points.map((p) => [name, whole(p.tasks), fixed(p.predicted, 3), fixed(p.observed, 3), `${fixed(p.low, 3)} to ${fixed(p.high, 3)}`]))],
    draw: (width) => {
      const f = frame(width, Math.min(330, width * 0.85), [0, 1], [0, 1], { xLabel: "predicted pass rate", yLabel: "observed pass rate", xTicks: [0, 0.2, 0.4, 0.6, 0.8, 1], yTicks: [0, 0.2, 0.4, 0.6, 0.8, 1] });
      f.root.append(sv("line", { x1: f.px(0), y1: f.py(0), x2: f.px(1), y2: f.py(1), style: "stroke:var(--muted)", "stroke-dasharray": "3 3" }));
      const most = Math.max(...Object.values(diagram).flat().map((p) => p.tasks));
      for (const [name, points] of Object.entries(diagram)) {
        const [colour, opacity] = styles[name];
        for (const p of points) {
          const x = f.px(p.predicted);
          f.root.append(sv("line", { x1: x, x2: x, y1: f.py(p.low), y2: f.py(p.high), style: `stroke:${colour}`, "stroke-width": 1.4, "stroke-opacity": opacity * 0.7 }),
            sv("circle", { cx: x, cy: f.py(p.observed), r: 2.5 + 7 * Math.sqrt(p.tasks / most), style: `fill:${colour}`, "fill-opacity": opacity * 0.75 },
              sv("title", {}, `${name}: ${whole(p.tasks)} tasks, predicted ${fixed(p.predicted, 3)}, observed ${fixed(p.observed, 3)}`)));
        }
      }
      return f.root;
    },
  });
}

/* Predicted and observed pass rates of selected tasks by the age of what was known of them. */
function ageChart(points) {
  return figure({
    title: "Predictions by age",
    caption: "Selected tasks by the steps since they were last observed. Where the dot is far above the square, training moved the tasks more than the beliefs did. Bars: conservative 95% intervals.",
    legend: legendOf([["predicted", "var(--c1)", true], ["observed", "var(--c0)", true]]),
    label: `Predicted and observed pass rates by age: ${points.map((p) => `${p.age} ${fixed(p.predicted, 2)} and ${fixed(p.observed, 2)}`).join(", ")}`,
    numbers: () => [["steps since the last observation", "tasks", "predicted", "observed", "95% interval", "Brier score"],
      points.map((p) => [p.age, whole(p.tasks), fixed(p.predicted, 3), fixed(p.observed, 3), `${fixed(p.low, 3)} to ${fixed(p.high, 3)}`, fixed(p.error, 4)])],
    draw: (width) => {
      const f = frame(width, Math.min(330, width * 0.85), [-0.5, points.length - 0.5], [0, 1], { xLabel: "steps since the last observation", yLabel: "pass rate", xTicks: points.map((_, i) => i), xFormat: (i) => points[i].age, yTicks: [0, 0.2, 0.4, 0.6, 0.8, 1] });
      points.forEach((p, i) => f.root.append(
        sv("line", { x1: f.px(i), x2: f.px(i), y1: f.py(p.low), y2: f.py(p.high), style: "stroke:var(--c0)", "stroke-width": 1.4 }),
        sv("circle", { cx: f.px(i), cy: f.py(p.observed), r: 5, style: "fill:var(--c0)" }, sv("title", {}, `${p.age}: ${whole(p.tasks)} tasks, observed ${fixed(p.observed, 3)}`)),
        sv("rect", { x: f.px(i) - 4, y: f.py(p.predicted) - 4, width: 8, height: 8, style: "fill:var(--c1)", "fill-opacity": 0.8 }, sv("title", {}, `${p.age}: predicted ${fixed(p.predicted, 3)}`))));
      return f.root;
    },
  });
}

/* One bar per run: phases side by side up to the wall-clock time. rows: {label, totals}. */
function phaseBars(rows, colours, said) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.totals)))].filter((name) => rows.some((row) => row.totals[name] > 0));
  const sum = (row) => Object.values(row.totals).reduce((a, b) => a + b, 0);
  return figure({
    title: "Time by phase", wide: true,
    caption: "The bar's length is the wall-clock time. Other: time within steps that belongs to no phase. Outside the steps: starting the actors, the first evaluation, shutdown.",
    legend: legendOf(names.map((name) => [said[name] || name, colours[name], true])),
    label: `Stacked bars of time by phase: ${rows.map((row) => `${row.label} ${duration(sum(row))}`).join(", ")}`,
    numbers: () => [["run", ...names.map((name) => said[name] || name), "total"], rows.map((row) => [row.label, ...names.map((name) => known(row.totals[name]) ? `${duration(row.totals[name])}` : "–"), duration(sum(row))])],
    draw: (width) => {
      const labels = shortened(rows.map((row) => row.label), 24);
      const left = 20 + 7 * Math.max(...labels.map((label) => label.length)), line = 34, height = rows.length * line + 50;
      const f = frame(width, height, [0, Math.max(...rows.map(sum))], [0, rows.length], { xLabel: "seconds", left, right: 62, top: 8, yTicks: [], xFormat: short });
      rows.forEach((row, i) => {
        let at = 0;
        const y = f.top + i * line + 4;
        f.root.append(sv("text", { class: "strong", x: left - 8, y: y + 17, "text-anchor": "end" }, labels[i]));
        for (const name of names) {
          const seconds = row.totals[name] || 0, a = f.px(at), b = f.px(at + seconds);
          at += seconds;
          f.root.append(sv("rect", { x: a, y, width: Math.max(0, b - a), height: line - 9, style: `fill:${colours[name]}` }, sv("title", {}, `${said[name] || name}: ${duration(seconds)}`)));
          if (b - a > 46) f.root.append(sv("text", { x: (a + b) / 2, y: y + 16, "text-anchor": "middle", style: name === "outside" ? "fill:var(--ink)" : "fill:light-dark(#fff,#101317)" }, percent(seconds / sum(row))));
        }
        f.root.append(sv("text", { x: f.px(at) + 6, y: y + 17, class: "strong" }, duration(at)));
      });
      return f.root;
    },
  });
}

/* Seconds per step by phase over the run, stacked. */
function phaseAreas(phases, colours, said) {
  const names = Object.keys(phases.stretches).filter((name) => phases.stretches[name].some((v) => v > 0));
  const tops = phases.at.map((_, i) => names.reduce((total, name) => total + phases.stretches[name][i], 0));
  return figure({
    title: "Seconds per step",
    legend: legendOf(names.map((name) => [said[name] || name, colours[name], true])),
    caption: phases.at.every((step, i) => step === phases.at[0] + i) ? null : "Means over intervals of the run.",
    numbers: () => [["up to step", ...names.map((name) => said[name] || name)], phases.at.map((step, i) => [whole(step), ...names.map((name) => fixed(phases.stretches[name][i], 3))])],
    draw: (width) => {
      const f = frame(width, 250, [0, phases.at.length], [0, Math.max(...tops) * 1.05], {
        xLabel: "step", yLabel: "seconds", xTicks: [], left: 46 });
      const gap = f.w / phases.at.length > 6 ? 1 : 0;
      phases.at.forEach((step, i) => {
        let at = 0;
        for (const name of names) {
          const v = phases.stretches[name][i], y = f.py(at + v);
          f.root.append(sv("rect", { x: f.px(i), width: Math.max(0.5, f.px(i + 1) - f.px(i) - gap), y, height: Math.max(0, f.py(at) - y), style: `fill:${colours[name]}` }));
          at += v;
        }
        if (i % Math.ceil(phases.at.length / 6) === Math.ceil(phases.at.length / 6) - 1) f.root.append(sv("text", { x: f.px(i + 0.5), y: f.top + f.h + 16, "text-anchor": "middle" }, whole(step)));
      });
      return f.root;
    },
  });
}
