// Tasks: cards with completions before and after, and the table that sorts and filters.

const CHANGES = {
  gained: ["Gained most", "scored better after training than before"],
  lost: ["Lost most", "scored worse"],
};

function heldOutCards(run) {
  if (typeof run.held_out === "string") return [missing(run.held_out)];
  const { tasks, kinds, counts } = run.held_out;
  const parts = run.held_out.missing ? [missing(run.held_out.missing)] : [];
  for (const [kind, [title, text]] of Object.entries(CHANGES)) {
    parts.push(el("h3", {}, title), el("p", { class: "note" }, `${whole(counts[kind])} of ${whole(counts.all)} tasks ${text}.`),
      el("div", { class: "cards" }, kinds[kind].map((number) => card(tasks[number], ["First evaluation", "Last evaluation"]))));
  }
  return parts;
}

const KINDS = {
  learnt: ["Learned most", "Ranked by how clearly the pass rate of a task's later selections exceeds that of its earlier ones. The largest of many differences overstate the true change."],
  easiest: ["Easiest", "Highest final posterior mean among the selected tasks."],
  hardest: ["Hardest", "Lowest final posterior mean among the selected tasks."],
};

function taskCards(run) {
  if (typeof run.cards === "string") return [missing(run.cards)];
  const parts = run.cards.missing ? [missing(run.cards.missing)] : [];
  for (const [kind, [title, text]] of Object.entries(KINDS)) {
    const picked = run.cards.kinds[kind] || [];
    parts.push(el("h3", {}, title), el("p", { class: "note" }, text),
      picked.length ? el("div", { class: "cards" }, picked.map((number) => card(run.cards.tasks[number])))
        : missing(kind === "learnt" ? "No task was selected twice with a better result later." : "No task was selected."));
  }
  return parts;
}

function card(task, [first, last] = ["First selected", "Last selected"]) {
  return el("article", { class: "card" },
    el("header", {}, el("code", { title: task.id }, task.id), task.domain ? el("span", { class: "chip" }, task.domain) : null),
    task.prompt ? el("div", { class: "prompt", tabindex: 0 }, el("pre", {}, task.prompt)) : null,
    truth(task.truth),
    task.rates ? track(task) : null,
    task.after ? el("div", { class: "sides" }, side(first, task.before), side(last, task.after)) : el("div", { class: "sides alone" }, side("Selected once", task.before)));
}

function truth(text) {
  if (!text) return null;
  const said = el("pre", {}, text);
  return text.length > 60 ? el("details", { class: "truth" }, el("summary", {}, "reference answer"), said) : el("div", { class: "truth" }, "reference answer: ", said);
}

function side(title, completions) {
  return el("div", {}, el("h4", {}, title, el("small", {}, ` step ${whole(completions.step)}, ${counted(completions.completions, "completion")}`)),
    completions.shown.map((one) => {
      const [kind, sign, said] = one.reward === null ? ["partly", "?", "not graded"] : one.reward >= 1 ? ["right", "✓", "right"] : one.reward <= 0 ? ["wrong", "✗", "wrong"] : ["partly", "◐", `reward ${fixed(one.reward, 2)}`];
      const reason = one.reason && one.reason !== said ? `: ${one.reason}` : "";
      return el("div", { class: `completion ${kind}`, "data-sign": sign, tabindex: 0 }, el("pre", {}, one.text === "" ? "(empty)" : one.text), el("small", {}, `×${one.count} ${said}${reason}`));
    }));
}

/* A task's observed pass rates as dots, its posterior mean as a line. */
function track(task) {
  const plot = el("div", { class: "plot" });
  plot.redraw = (force) => {
    const width = printWidth ? printWidth / 2 - 40 : plot.clientWidth;
    if (width < 40 || (plot.firstChild && !force && plot.drawnAt === width)) return;
    plot.drawnAt = width;
    const t = task.track, last = Math.max(...task.steps, ...(t ? t.x : [0]));
    const f = frame(width, 96, [t ? 0 : Math.min(...task.steps), last], [0, 1], { yTicks: [0, 0.5, 1], top: 8, bottom: 20, left: 30 });
    if (t) {
      const up = t.x.map((v, i) => [f.px(v), f.py(t.high[i])]), down = t.x.map((v, i) => [f.px(v), f.py(t.low[i])]);
      f.root.append(sv("path", { d: path([...up, ...down.reverse()]) + "Z", style: "fill:var(--c0)", "fill-opacity": 0.15 }),
        sv("path", { d: path(t.x.map((v, i) => [f.px(v), f.py(t.y[i])])), style: "fill:none;stroke:var(--c0)", "stroke-width": 1.6 }));
    }
    task.steps.forEach((step, i) => f.root.append(sv("circle", { cx: f.px(step), cy: f.py(task.rates[i]), r: 3, style: "fill:var(--mark);stroke:var(--sheet)", "stroke-width": 1 },
      sv("title", {}, `step ${step}: pass rate ${fixed(task.rates[i], 2)}`))));
    f.root.setAttribute("role", "img");
    f.root.setAttribute("aria-label", `Pass rates: ${task.steps.map((step, i) => `step ${step} ${fixed(task.rates[i], 2)}`).join(", ")}`);
    plot.replaceChildren(f.root);
  };
  drawn.add(plot);
  observer.observe(plot);
  return plot;
}

const RATES = new Set(["weak", "strong", "first rate", "last rate", "belief"]);
const PAGE = 25;
const natural = new Intl.Collator(undefined, { numeric: true }).compare; // level 2 before level 10

function taskTable(run) {
  if (typeof run.table === "string") return [missing(run.table)];
  const columns = run.table.columns, names = Object.keys(columns), total = columns.id.length;
  const state = { sort: "selected", down: true, text: "", domain: "", solved: "", shown: PAGE };
  const body = el("tbody", {}), count = el("span", { role: "status" }), more = el("button", { type: "button", class: "screen", onclick: () => { state.shown += 200; update(); } });
  const heads = names.map((name) => el("th", { scope: "col", class: typeof columns[name][0] === "string" ? null : "number" }, el("button", { type: "button", onclick: () => {
    state.down = state.sort === name ? !state.down : typeof columns[name][0] !== "string";
    state.sort = name;
    update();
  } }, name)));
  const fits = (i) => {
    const rate = columns["last rate"][i];
    return (!state.text || columns.id[i].toLowerCase().includes(state.text)) && (!state.domain || columns.domain[i] === state.domain) &&
      (!state.solved || (state.solved === "never" ? rate <= 0 : state.solved === "always" ? rate >= 1 : rate > 0 && rate < 1));
  };
  const content = (name, value) => {
    if (value === null) return "–";
    if (RATES.has(name)) return el("span", { class: "rate", style: `--v:${value}` }, fixed(value, 2));
    if (name === "change") return el("span", { class: value > 0 ? "up" : value < 0 ? "down" : "" }, (value > 0 ? "+" : "") + fixed(value, 2));
    return typeof value === "string" ? value : whole(value);
  };
  function update() {
    const values = columns[state.sort], sign = state.down ? -1 : 1;
    const order = [...Array(total).keys()].filter(fits).sort((a, b) => {
      const x = values[a], y = values[b];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === "string" ? natural(x, y) : x - y) || a - b;
    });
    names.forEach((name, k) => (name === state.sort ? heads[k].setAttribute("aria-sort", state.down ? "descending" : "ascending") : heads[k].removeAttribute("aria-sort")));
    body.replaceChildren(...order.slice(0, state.shown).map((i) => el("tr", {}, names.map((name) =>
      el("td", { class: name === "id" ? "id" : typeof columns[name][i] === "string" ? null : "number", title: name === "id" ? columns.id[i] : null }, content(name, columns[name][i]))))));
    count.textContent = `${whole(order.length)} of ${whole(total)} tasks`;
    more.hidden = order.length <= state.shown;
    more.textContent = `Show more (${whole(order.length - state.shown)} left)`;
  }
  const set = (key) => (event) => { state[key] = event.target.value.toLowerCase(); state.shown = PAGE; update(); };
  const pick = (options, key) => el("select", { onchange: (event) => { state[key] = event.target.value; state.shown = PAGE; update(); } }, options.map(([value, text]) => el("option", { value }, text)));
  const domains = [...new Set(columns.domain)].sort(natural);
  update();
  const left = run.table.left_out ? ` The ${whole(run.table.left_out)} least often selected ones are left out.` : "";
  return [
    el("p", { class: "note" }, `${whole(total + run.table.left_out)} tasks were selected at least once, ${whole(run.table.never)} never.${left}`
      + (run.table.belief_known ? "" : " The run has no final beliefs yet, so the column belief shows the mean observed pass rate.")),
    el("div", { class: "filters" }, el("label", {}, "id contains", el("input", { type: "search", id: "task-filter", oninput: set("text") })),
      domains.length > 1 ? el("label", {}, "domain", pick([["", "all"], ...domains.map((d) => [d, d])], "domain")) : null,
      el("label", {}, "last selected", pick([["", "any result"], ["never", "never right"], ["partly", "sometimes right"], ["always", "always right"]], "solved")), count),
    el("div", { class: "scroll", tabindex: 0 }, el("table", { id: "tasks-table" }, el("thead", {}, el("tr", {}, heads)), body)), more];
}
