// How numbers, times and states are written, the same everywhere.
import { html } from "./vendor/htm-preact-standalone.module.js";

const WORDS = {
  done: "done", failed: "failed", running: "running", retrying: "retrying", waiting: "waiting", skipped: "skipped",
  stopped: "stopped", cancelled: "cancelled", timed_out: "timed out", pending: "pending",
};
const NODE_STATES = ["failed", "retrying", "running", "waiting", "done", "skipped", "stopped"];
const RUN_STATES = ["pending", "running", "done", "failed", "cancelled", "timed_out"];
const OVER = new Set(["done", "failed", "cancelled", "timed_out"]);

// Each state has a shape of its own, so that it is told without its colour as well: drawn within 16 × 16.
const SHAPES = {
  done: { disc: true, mark: "M4.9 8.3l2.1 2.1 4.1-4.6" },
  failed: { disc: true, mark: "M5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6" },
  running: { ring: true, dot: true },
  retrying: { line: "M13 8.2a5 5 0 1 1-1.6-3.9M13.2 1.9v3.1h-3.1" },
  waiting: { ring: true, dashed: true },
  skipped: { line: "M2.2 11c1.4-5.6 8.6-6.6 11-1.6M13.6 5.3v4.3H9.3" },
  stopped: { square: true },
  cancelled: { disc: true, mark: "M5.2 8h5.6" },
  timed_out: { disc: true, mark: "M8 4.6V8l2.3 1.5" },
};

const word = (state) => WORDS[state] ?? String(state ?? "");
const known = (state) => (state in SHAPES ? state : "waiting");

function StateIcon({ state, size = 16, x, y }) {
  const shape = SHAPES[known(state)];
  return html`<svg class=${`icon s-${known(state)}`} width=${size} height=${size} viewBox="0 0 16 16" x=${x} y=${y}
      aria-hidden="true">
    ${shape.disc && html`<circle class="disc" cx="8" cy="8" r="6.5" />`}
    ${shape.ring && html`<circle class=${shape.dashed ? "ring dashed" : "ring"} cx="8" cy="8" r="5.75" />`}
    ${shape.dot && html`<circle class="dot" cx="8" cy="8" r="2.75" />`}
    ${shape.square && html`<rect class="square" x="3" y="3" width="10" height="10" rx="2.5" />`}
    ${shape.line && html`<path class="line" d=${shape.line} />`}
    ${shape.mark && html`<path class="mark" d=${shape.mark} />`}
  </svg>`;
}

const two = (number) => String(Math.floor(number)).padStart(2, "0");

function duration(seconds) {
  if (seconds == null) return "";
  if (seconds < 0.0005) return seconds > 0 ? "<1 ms" : "0 ms";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two((whole % 3600) / 60)} m`;
  return `${Math.floor(whole / 86400)} d ${two((whole % 86400) / 3600)} h`;
}

const COUNT = new Intl.NumberFormat("en");
const count = (number) => (number == null ? "?" : COUNT.format(number));
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
const percent = (part, whole) => (whole ? `${Math.floor((100 * part) / whole)} %` : "");

function bytes(size) {
  if (size == null) return "";
  if (size < 1000) return plural(size, "byte");
  const units = ["KB", "MB", "GB", "TB"];
  let at = -1;
  for (; size >= 1000 && at < units.length - 1; at++) size /= 1000;
  return `${size.toFixed(size < 10 ? 1 : 0)} ${units[at]}`;
}

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

function clock(at, parts = 2) {
  const when = new Date(at * 1000);
  const texts = [two(when.getHours()), two(when.getMinutes()), two(when.getSeconds())];
  return texts.slice(0, parts).join(":");
}

// 14:03 of today, 3 Nov 14:03 of this year.
function moment(at, now = Date.now() / 1000) {
  if (at == null) return "";
  const when = new Date(at * 1000), today = new Date(now * 1000);
  if (when.toDateString() === today.toDateString()) return clock(at, 3);
  return `${(when.getFullYear() === today.getFullYear() ? DAY : YEAR).format(when)} ${clock(at)}`;
}

const exact = (at) => (at == null ? "" : new Date(at * 1000).toISOString().replace("T", " ").replace("Z", " UTC"));

function ago(at, now) {
  if (at == null) return "";
  const seconds = Math.max(0, now - at);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return moment(at, now);
}

const Time = ({ at, children }) =>
  at == null ? "" : html`<time datetime=${new Date(at * 1000).toISOString()} title=${exact(at)}>${children}</time>`;

const parameters = (params) => Object.entries(params ?? {}).map(([name, text]) => `${name}=${text}`).join("  ");

// The pieces of a node by state, in the order in which a bar shows them.
function parts(node) {
  const names = ["done", "skipped", "running", "retrying", "failed", "stopped"];
  const found = names.map((name) => [name, node[name] ?? 0]).filter(([, number]) => number > 0);
  const total = Math.max(node.total ?? 0, found.reduce((sum, [, number]) => sum + number, 0));
  return { total, found };
}

function StateBar({ node }) {
  const { total, found } = parts(node);
  const said = found.map(([name, number]) => `${count(number)} ${word(name)}`).join(", ") || "nothing begun";
  return html`<span class="bar" role="img" aria-label=${`${said} of ${count(node.total)}`} title=${said}>
    ${found.map(([name, number]) => html`<i key=${name} class=${`fill s-${name}`} style=${{ width: `${(100 * number) / total}%` }} />`)}
  </span>`;
}

export { NODE_STATES, OVER, RUN_STATES, SHAPES, StateBar, StateIcon, Time, ago, bytes, clock, count, duration, exact, known, moment, parameters, parts, percent, plural, word };
