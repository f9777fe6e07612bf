"use strict";
// Small helpers: elements, numbers, ticks. Text goes into the page as text nodes only.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const sv = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

function short(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return trim(value / 1e9) + "G";
  if (size >= 1e6) return trim(value / 1e6) + "M";
  if (size >= 1e4) return trim(value / 1e3) + "k";
  if (size !== 0 && size < 1e-3) return value.toExponential(1).replace(".0e", "e").replace("e-", "e−").replace(/^-/, "−");
  return trim(value);
}
function trim(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "").replace(/^-/, "−");
}
const fixed = (value, digits) => (known(value) ? value.toFixed(digits).replace(/^-/, "−") : "–");
function percent(value, digits = 0) {
  if (!known(value)) return "–";
  const least = 10 ** -digits, text = (100 * value).toFixed(digits);
  return value > 0 && Number(text) === 0 && digits ? `< ${least.toFixed(digits)}%` : `${text}%`;
}
const counted = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;
const whole = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "–");

function duration(seconds) {
  if (!known(seconds)) return "–";
  if (seconds < 90) return trim(seconds) + " s";
  if (seconds < 5400) return trim(seconds / 60) + " min";
  return seconds < 172800 ? trim(seconds / 3600) + " h" : trim(seconds / 86400) + " d";
}

/* Long labels cut to what tells them apart: "…lam=0.1…" and "…lam=0.2…". */
function shortened(labels, most) {
  if (labels.every((label) => label.length <= most)) return labels;
  const least = Math.min(...labels.map((label) => label.length)), first = labels[0];
  const mark = (at) => /[-_\/, ]/.test(first[at]);
  let head = 0, tail = 0;
  if (labels.length > 1) {
    while (head < least && labels.every((label) => label[head] === first[head])) head += 1;
    while (head && !mark(head - 1)) head -= 1;
    while (tail < least - head && labels.every((label) => label[label.length - 1 - tail] === first[first.length - 1 - tail])) tail += 1;
    while (tail && !mark(first.length - tail)) tail -= 1;
  }
  return labels.map((label) => {
    const text = (head ? "…" : "") + label.slice(head, label.length - tail) + (tail ? "…" : "");
    return text.length > most ? `${text.slice(0, Math.ceil(most / 2))}…${text.slice(-Math.floor(most / 2) + 1)}` : text;
  });
}

/* high - low, or 0 if they differ by rounding only, as the running mean of a constant does. */
const span = (low, high) => (high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high)) ? high - low : 0);

/* Round numbers from low to high, about as many as wanted; least: the smallest distance between two of them. */
function ticks(low, high, wanted, least = 0) {
  if (!span(low, high)) return [low];
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(least, [1, 2, least ? 5 : 2.5, 5, 10].find((m) => m * power >= raw) * power);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}

function runningMean(values, width) {
  const out = [];
  let sum = 0;
  values.forEach((value, i) => {
    sum += value;
    if (i >= width) sum -= values[i - width];
    out.push(sum / Math.min(i + 1, width));
  });
  return out;
}

function missing(sentence) {
  return el("p", { class: "missing" }, sentence);
}

function grid(head, rows, label) {
  const numeric = head.map((_, i) => rows.length > 0 && rows.every((row) => typeof row[i] !== "string" || /^[−–\d]/.test(row[i])));
  const cell = (tag, i, content) => el(tag, { class: numeric[i] && i > 0 ? "number" : null, scope: tag === "th" ? "col" : null }, content);
  return el("div", { class: "scroll", tabindex: 0 }, el("table", { "aria-label": label || null },
    el("thead", {}, el("tr", {}, head.map((name, i) => cell("th", i, name)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((content, i) => cell("td", i, content)))))));
}
