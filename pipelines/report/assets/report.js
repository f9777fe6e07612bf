// The page: its sections in order. Sections about one run are redrawn when another run is chosen.

const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
const OWN = { bots: 0, random: 1 };
const settingColours = (() => {
  const taken = new Set(data.settings.map((s) => OWN[s.label]).filter(known));
  const free = [...Array(8).keys()].filter((i) => !taken.has(i));
  return data.settings.map((s) => `var(--c${known(OWN[s.label]) ? OWN[s.label] : free.length ? free.shift() : 7})`);
})();
const PHASES = { generate: "--c0", wait: "--c6", learn: "--c1", grade: "--c2", sync: "--c3", evaluate: "--c7", checkpoint: "--c4", select: "--c5", batch: "--c6" };
const SAID = { other: "other", outside: "outside the steps", sync: "weight sync", write: "writing results" };
const phaseColours = new Proxy({}, { get: (_, name) => name === "outside" ? "light-dark(#cfcabd,#454c56)" : name === "other" ? "light-dark(#8d8a82,#7d848d)" : `var(${PHASES[name] || "--c4"})` });
const several = data.runs.length > 1;

function section(id, title, lead, ...content) {
  document.getElementById("nav").append(el("a", { href: `#${id}` }, title));
  const node = el("section", { id }, el("h2", {}, title), lead ? el("p", { class: "lead" }, lead) : null, content);
  main.append(node);
  return node;
}

const MOST_BUTTONS = 8;
/* One of several choices: buttons, or a list where they would not fit. options: [value, text]. */
function switcher(options, chosen, label, act) {
  if (options.length > MOST_BUTTONS) {
    const items = options.map(([value, text]) => el("option", { value, selected: value === chosen }, text));
    return el("select", { "aria-label": label, onchange: (event) => act(event.target.value) }, items);
  }
  const buttons = options.map(([value, text]) => el("button", { type: "button", "aria-pressed": String(value === chosen), onclick: (event) => {
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === event.currentTarget)));
    act(value);
  } }, text));
  return el("span", { class: "switch", role: "group", "aria-label": label }, buttons);
}

const interval = (cell, digits) => {
  if (!cell || !("mean" in cell)) return "–";
  if (cell.never) return cell.of === 1 ? "never" : `never in ${cell.never} of ${cell.of}`;
  return fixed(cell.mean, digits) + (known(cell.low) ? ` (${fixed(cell.low, digits)}–${fixed(cell.high, digits)})` : "");
};

function stateOf(run) {
  const at = `step ${whole(run.key.steps)} of ${whole(run.planned_steps)}`;
  if (run.state === "finished") return `finished, ${counted(run.key.steps, "step")}`;
  if (run.state === "ended early") return `ended early at ${at}${run.reason ? `: ${run.reason}` : ""}`;
  return `still running or killed: ${at}, last written ${duration(run.quiet_seconds)} before this report`;
}

function head() {
  const first = data.runs[0], k = first.key;
  const title = several ? `${data.settings.map((s) => s.label).join(" · ")}` : first.label;
  document.title = `${title} – BOTS report`;
  main.append(el("h1", {}, title), el("p", { class: "lead" }, several
    ? `${data.runs.length} runs in ${counted(data.settings.length, "setting")}, compared on the same held-out tasks. Report of ${data.made}.`
    : `${k.selector} selection, ${k.model}, ${k.batch} per step, loss ${k.loss}, seed ${first.seed}; ${stateOf(first)}. Report of ${data.made}.`));
  if (!several) {
    const item = (name, value, note) => el("div", {}, el("dt", {}, name), el("dd", {}, value, note ? el("small", {}, note) : null));
    main.append(el("dl", { class: "keys" },
      item("best score", fixed(k.best_score, 3), known(k.best_step) ? `at step ${whole(k.best_step)}` : "not evaluated"),
      item("last score", fixed(k.last_score, 3), known(k.first_score) ? `first ${fixed(k.first_score, 3)}, ${counted(k.evaluated, "evaluation")}` : "not evaluated"),
      item("effective task ratio", fixed(k.etr, 2), "mean over all steps"),
      item("generated tokens", short(k.tokens), known(k.tokens) && k.training_seconds ? `${short(k.tokens / k.training_seconds)} per training second` : null),
      item("training time", duration(k.training_seconds), "without evaluation and checkpoints"),
      item("wall-clock time", duration(k.wall_seconds), known(k.wall_seconds) ? null : "known when the run ends"),
      item("selection overhead", percent(k.selection_share, 3), "of the training time")));
  } else {
    main.append(grid(["setting", "run", "seed", "state", "best score", "at step", "last score", "ETR", "tokens", "training time", "selection overhead"],
      data.runs.map((run) => [el("span", {}, el("span", { class: "swatch square", style: `--s:${settingColours[run.setting]}` }), " ", data.settings[run.setting].label), run.label, String(run.seed), run.state,
        fixed(run.key.best_score, 3), whole(run.key.best_step), fixed(run.key.last_score, 3), fixed(run.key.etr, 2), short(run.key.tokens), duration(run.key.training_seconds), percent(run.key.selection_share, 3)])));
    const keys = Object.keys(data.settings[0].differences);
    if (keys.length) main.append(el("h3", {}, "Differences between the settings"), grid(["key", ...data.settings.map((s) => s.label)], keys.map((key) => [key, ...data.settings.map((s) => s.differences[key])])));
    if (data.settings.some((s) => s.runs.length > 1 && new Set(s.runs.map((label) => data.runs.find((r) => r.label === label).seed)).size < s.runs.length)) {
      main.append(missing("Some runs of one setting have the same seed. They are not independent, so their bands are too narrow."));
    }
  }
  const configurations = data.runs.map((run) => el("details", {}, el("summary", {}, several ? run.label : "Configuration"), el("pre", {}, run.config)));
  main.append(el("div", { class: "screen" }, several ? el("details", {}, el("summary", {}, "Configurations"), configurations) : configurations));
}

function learning() {
  const node = section("learning", "Learning", several
    ? "Held-out score against cost. Seconds are those of training steps, without evaluation and checkpoints."
    : "Held-out score against cost. One seed is one draw; a claim needs several.");
  const scores = [...new Set(data.curves.map((c) => c.score))];
  if (!scores.length) {
    node.append(missing("No run has been evaluated: the configuration has no evaluation.pool, or the first evaluation is not finished."));
    return;
  }
  const state = { cost: "steps", score: "score" };
  const holder = el("div", {});
  const label = { steps: "step", tokens: "generated tokens", seconds: "training seconds" };
  const update = () => {
    const { lines } = data.curves.find((c) => c.score === state.score && c.cost === state.cost);
    const banded = lines.some((line) => line.seeds.length > 1);
    holder.replaceChildren(lineChart({
      title: state.score === "score" ? "Held-out score" : `Held-out score, ${state.score.slice(6)}`, height: 340, wide: true,
      xLabel: label[state.cost], yLabel: "score",
      caption: banded ? "Thick lines: mean over seeds. Bands: 95% intervals (Student's t). Thin lines: seeds." : null,
      series: lines.map((line) => ({ label: data.settings[line.setting].label, colour: settingColours[line.setting], x: line.x, y: line.mean, low: line.low, high: line.high, dots: true, thin: line.seeds.length > 1 ? line.seeds : [] })),
    }));
  };
  node.append(el("div", { class: "filters" }, switcher([["steps", "steps"], ["tokens", "tokens"], ["seconds", "time"]], "steps", "Horizontal axis", (cost) => { state.cost = cost; update(); }),
    scores.length > 1 ? switcher(scores.map((s) => [s, s === "score" ? "all tasks" : s.slice(6)]), "score", "Tasks", (score) => { state.score = score; update(); }) : null), holder);
  update();
  if (data.comparison) {
    const names = Object.keys(data.comparison.rows[0].cells);
    node.append(el("h3", {}, `Against ${data.comparison.baseline} selection`), el("p", { class: "note" }, "TTB x%: the cost of reaching x% of the baseline's best gain, divided by the baseline's cost; below 1 is cheaper. BSF x%: the best score within x% of the budget, divided by the baseline's; above 1 is better. Paired by seed, with 95% intervals if there are several."),
      grid(["setting", "on", "pairs", ...names],
      data.comparison.rows.map((row) => [row.setting, row.cost === "seconds" ? "training seconds" : row.cost, String(row.pairs), ...names.map((name) => interval(row.cells[name], 2))]),
      "TTB and BSF"));
  } else if (data.settings.length > 1) node.append(el("p", { class: "note" }, "TTB and BSF need one setting with random selection and a seed in common with it."));
}

function smoothed({ x, y }, smooth, raw) {
  const width = smooth ? Math.max(1, Math.round(y.length / 20)) : 1;
  return { x, y: runningMean(y, width), raw: width > 1 && raw ? y : null, smooth: width > 1 };
}

/* Mean over the seeds of a setting at the steps they have in common; the seeds as thin lines. */
function meanOf(seeds) {
  const places = seeds.map((seed) => new Map(seed.x.map((step, i) => [step, i])));
  const x = seeds[0].x.filter((step) => places.every((place) => place.has(step)));
  return { x, y: x.map((step) => seeds.reduce((sum, seed, k) => sum + seed.y[places[k].get(step)], 0) / seeds.length), thin: seeds };
}

/* A line chart of metrics by step: of one run, keys: [[key, name, colour, dash]]; without options.runs of every setting, keys: key. */
function overSteps(keys, options) {
  const series = options.runs ? keys.flatMap(([key, name, colour, dash]) => options.runs.filter((run) => run.metrics[key]).map((run) => ({ ...smoothed(run.metrics[key], options.smooth, true), label: name, colour, dash })))
    : data.settings.flatMap((setting, i) => {
      const seeds = data.runs.filter((run) => run.setting === i && run.metrics[keys]).map((run) => smoothed(run.metrics[keys], options.smooth, data.runs.length <= 2));
      if (!seeds.length) return [];
      return [{ ...(seeds.length === 1 ? seeds[0] : meanOf(seeds)), label: setting.label, colour: settingColours[i] }];
    });
  return series.length ? lineChart({ xLabel: "step", series, ...options }) : el("figure", {}, el("h3", {}, options.title), missing(options.absent || "The run has no such metric."));
}

/* What dots and thin lines mean, where there are any: short series are not smoothed, and many runs have no dots. */
function meansCaption(key) {
  const drawn = data.runs.filter((run) => run.metrics[key]).map((run) => smoothed(run.metrics[key], true, data.runs.length <= 2));
  const smooth = drawn.some((one) => one.smooth) ? "Running mean. " : "";
  if (data.settings.some((s) => s.runs.length > 1)) return `${smooth}Thick lines: mean over seeds. Thin lines: seeds.`;
  return smooth + (drawn.some((one) => one.raw) ? "Dots are single steps." : "") || null;
}

function effective() {
  section("effective", "Effective tasks", "Share of each batch's tasks whose completions differ in reward. Only these groups give a group-relative loss a gradient.",
    el("div", { class: "pair" },
      overSteps("etr", { title: "Effective task ratio", yLabel: "ETR", yRange: [0, 1], smooth: true, caption: meansCaption("etr") }),
      overSteps("reward", { title: "Mean reward of the batches", yLabel: "reward", yRange: [0, 1], smooth: true, caption: "Not a measure of learning: selection decides which tasks are in the mean." })));
}

const CELL_MEAN = "posterior/belief/cell_mean/", CELL_SD = "posterior/belief/cell_sd/";
const DRIFTS = { cell: "its cell", near: "neighboring levels", domain: "its domain", pool: "the pool", task: "the task itself" };

/* A line of a run's metric with the band of another, its standard deviation. */
function banded(run, key, deviation, label, colour, dash = null) {
  const { x, y } = run.metrics[key], sd = run.metrics[deviation].y;
  return { x, y, low: y.map((v, i) => v - sd[i]), high: y.map((v, i) => v + sd[i]), label, colour, dash };
}

/* A metric of the batches' completions, and of the held-out tasks' where they were evaluated. */
const andHeldOut = (key) => [[key, "batches", "var(--c0)"], [`evaluation_${key}`, "held-out tasks", "var(--c1)"]];

const domainOf = (key) => key.split("/").slice(3).join("/") || "all tasks";

function ofRun(run) {
  const parts = [];
  parts.push(["beliefs", "Beliefs", `The posterior's beliefs about the pool's tasks, and which of them it selected.${run.beliefs_from ? ` Source: ${run.beliefs_from}.` : ""}`,
    typeof run.heat === "string" ? [missing(run.heat)] : [heatMap(run.heat)]]);
  const beside = typeof run.heat === "string" ? [] : [beliefHistogram(run.heat)];
  if (typeof run.calibration !== "string") beside.push(calibrationChart(run.calibration, run.quality));
  else if (typeof run.heat !== "string") beside.push(missing(run.calibration));
  if (run.by_age) beside.push(ageChart(run.by_age));
  if (beside.length) parts[0][3].push(el("div", { class: "pair", style: "margin-top:1.2rem" }, beside));
  const cells = Object.keys(run.metrics).filter((key) => key.startsWith(CELL_MEAN));
  if (cells.length) parts.push(["cells", "Cells and drift", "The state-space belief: what it believes of the largest cells, and how far it found training to carry.", [el("div", { class: "pair" },
    lineChart({ title: "Cells over time", xLabel: "step", yLabel: "pass rate", yRange: [0, 1], bands: 4, series: cells.map((key, i) => banded(run, key, CELL_SD + key.slice(CELL_MEAN.length), key.slice(CELL_MEAN.length).replace(/\.0(?=\/|$)/g, ""), `var(--c${i % 8})`, i < 8 ? null : "6 3")),
      caption: `Believed pass rate of a typical task of each cell. Bands${cells.length > 4 ? " of the first four cells shown" : ""}: one standard deviation.` }),
    lineChart({ title: "Drift coefficients", xLabel: "step", yLabel: "logits", refs: [{ y: 0, label: "" }], series: Object.entries(DRIFTS).map(([name, said], i) => banded(run, `posterior/belief/drift_${name}`, `posterior/belief/drift_${name}_sd`, said, `var(--c${i % 8})`)), caption: "How many logits a batch of full signal moves what it trained. Bands: one standard deviation." }))]]);
  const capabilities = Object.keys(run.metrics).filter((key) => key.startsWith("posterior/evidence/capability"));
  parts.push(["tuning", "Capability and tuning", "μ̃ places the policy between the weak reference model (0) and the strong one (1). λ is the rate of forgetting, ρ the share of implicit evidence.",
    [el("div", { class: "pair" },
      overSteps(capabilities.map((key, i) => [key, domainOf(key), `var(--c${i % 8})`]), { title: "Capability μ̃", yLabel: "μ̃", runs: [run], absent: "This run's evidence plug-in has no capability coefficient." }),
      overSteps([["posterior/lam", "λ", "var(--c0)"], ["posterior/rho", "ρ", "var(--c1)", "6 3"], ["posterior/p_star", "p*", "var(--c7)", "2 3"]], { title: "λ, ρ and p*", runs: [run], yRange: [0, 1], caption: "Constant unless an adaptor tunes them." }))]]);
  const covered = Object.keys(run.metrics).filter((key) => key === "coverage" || key.startsWith("coverage/"));
  if (covered.length) parts.push(["coverage", "Coverage", "Which share of the pool's tasks was observed at least once, as counted at the evaluations.", [
    overSteps(covered.map((key, i) => [key, key === "coverage" ? "all tasks" : key.slice("coverage/".length), i ? `var(--c${(i - 1) % 8})` : "var(--ink)", i ? null : "6 3"]), { title: "Coverage by difficulty", yLabel: "share of tasks", runs: [run] })]]);
  parts.push(["engines", "Engines and staleness", null, [el("div", { class: "pair" },
    overSteps([["staleness", "oldest completion", "var(--c1)"], ["staleness_mean", "mean", "var(--c0)"]], { title: "Staleness", yLabel: "policy versions behind", runs: [run], yRange: [0, Math.max(1, ...(run.metrics.staleness ? run.metrics.staleness.y : [])) * 1.05], yTicks: "whole", caption: "0: strictly on-policy." }),
    overSteps([["engine_busy_share", "busy", "var(--c0)"]], { title: "Engine utilization", yLabel: "share of time", yRange: [0, 1], runs: [run], smooth: true }),
    typeof run.phases === "string" ? missing(run.phases) : phaseAreas(run.phases, phaseColours, SAID),
    overSteps([["tokens", "tokens", "var(--c0)"]], { title: "Generated tokens per step", yLabel: "tokens", runs: [run], smooth: true })), enginesTable(run.engines)]]);
  parts.push(["learner", "Learner", null, [el("div", { class: "pair" },
    overSteps([["loss", "loss", "var(--c0)"]], { title: "Policy loss", runs: [run], smooth: true }),
    overSteps([["grad_norm", "norm", "var(--c0)"]], { title: "Gradient norm before clipping", runs: [run], smooth: true }),
    overSteps([["mismatch_kl", "KL", "var(--c0)"]], { title: "KL between engines and learner", runs: [run], smooth: true, caption: "From the log-probabilities of both. Far from 0 means that they compute different policies." }),
    overSteps(andHeldOut("finished_share"), { title: "Finished completions", yLabel: "share", yRange: [0, 1], runs: [run], smooth: true, caption: "The others reached the token limit." }),
    overSteps(andHeldOut("completion_tokens"), { title: "Length of a completion", yLabel: "tokens", runs: [run], smooth: true, absent: "The run recorded no lengths: it was made by an earlier version." }),
    overSteps(andHeldOut("entropy"), { title: "Entropy of the policy", yLabel: "nats per token", runs: [run], smooth: true, caption: "Mean of -log p over the sampled tokens. It falls towards 0 if the policy collapses. Which tasks are selected moves that of the batches, too.", absent: "The run recorded no entropy: it was made by an earlier version." }))]]);
  parts.push(["tasks", "Tasks", "With the model's most frequent completions at their first and last selection. Dots: observed pass rates. Line: posterior mean and one standard deviation.", taskCards(run)]);
  parts.push(["held-out", "Held-out completions", "The initial model beside the trained one, on tasks outside the training pool, sampled with the same seeds. The tasks are chosen by their change over a few samples, so chance contributes to the largest changes in both directions.", heldOutCards(run)]);
  parts.push(["table", "All selected tasks", null, taskTable(run)]);
  return parts;
}

function enginesTable(engines) {
  if (!engines) return [];
  const rows = engines.rows.map((row) => [row.engine, whole(row.completions), whole(row.tokens), `${fixed(100 * row.share, 0)}%`]);
  return [rows.length ? [el("h3", {}, "Engines side by side"), grid(["engine", "completions", "tokens", "share of tokens"], rows, "Engines side by side")] : null,
    engines.notes.map((note) => el("p", { class: "note" }, note))];
}

function time() {
  const rows = data.runs.filter((run) => typeof run.phases !== "string").map((run) => ({ label: run.label, totals: run.phases.totals }));
  const notes = data.runs.filter((run) => typeof run.phases !== "string").flatMap((run) => run.phases.notes.map((note) => missing(several ? `${run.label}: ${note}` : note)));
  section("time", "Time", null, rows.length ? [phaseBars(rows, phaseColours, SAID), notes] : missing("No run has finished a step yet."));
}

function runs() {
  let nodes = {};
  const show = (run) => {
    for (const [id, title, lead, content] of ofRun(run)) {
      if (!nodes[id]) nodes[id] = section(id, title, lead, content);
      else nodes[id].replaceChildren(...[el("h2", {}, title), lead ? el("p", { class: "lead" }, lead) : null, ...content].flat(Infinity).filter(Boolean));
    }
    document.querySelectorAll(".which").forEach((node) => (node.textContent = run.label));
  };
  if (several) {
    const select = el("select", { id: "run", onchange: (event) => show(data.runs[Number(event.target.value)]) }, data.runs.map((run, i) => el("option", { value: i }, run.label)));
    main.append(el("h2", {}, "One run: ", el("span", { class: "which" })), el("p", { class: "lead" }, "The sections below show one run at a time."), el("div", { class: "filters pick" }, el("label", {}, "run", select)));
  }
  show(data.runs[0]);
}

const THEMES = ["auto", "light", "dark"];
document.getElementById("theme").addEventListener("click", (event) => {
  const root = document.documentElement, next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % 3];
  root.dataset.theme = next;
  event.currentTarget.textContent = `Theme: ${next}`;
});
document.getElementById("print").addEventListener("click", () => window.print());

head();
learning();
effective();
time();
runs();
main.append(el("footer", {}, `Made by bots report ${data.version}, ${data.made}. Definitions of ETR, TTB, BSF and calibration: bots.metrics. This file makes no network requests.`));
