// When each node ran: a row a node, in the order of the graph; waiting is a thin line, running a bar.
import { html, useMemo, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { get, isOffline, query, run as pathOf } from "./api.js";
import { StateIcon, clock, count, duration, exact, parts, word } from "./format.js";
import { subtitle } from "./graph.js";
import { Rows, useOften, useSize } from "./hooks.js";

const HEIGHT = 28;
const STEPS = [1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600,
  7200, 14400, 21600, 43200, 86400, 172800, 604800];

function extent(model, now) {
  const { run } = model;
  const from = run.started ?? run.created;
  let first = from, last = run.ended ?? (run.started ? now : from);
  for (const node of model.nodes) {
    if (node.started != null && node.started < first) first = node.started;
    if (node.ended != null && node.ended > last) last = node.ended;
  }
  return { from: first, to: Math.max(last, first + 1e-3) };
}

function ticks({ from, to }, width) {
  const wanted = (to - from) / Math.max(2, width / 90), step = STEPS.find((each) => each >= wanted) ?? STEPS.at(-1);
  const found = [];
  for (let at = 0; at <= (to - from) * 1.0001; at += step) found.push(at);
  return found;
}

const tick = (seconds) => {
  if (seconds === 0) return "0";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${+seconds.toFixed(1)} s`;
  if (seconds < 3600) return seconds % 60 ? `${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")}` : `${seconds / 60} m`;
  return seconds % 3600 ? `${Math.floor(seconds / 3600)}:${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")} h` : `${seconds / 3600} h`;
};

// How many items of a mapped node ran at each moment: asked for when its node is chosen.
function useDensity(model, place, id) {
  const [density, setDensity] = useState(null);
  const wanted = !isOffline && place?.isMapped && place.isMany && !place.address.includes("[*]") ? place.address : null;
  useOften(async () => (wanted ? get(`${pathOf(id)}/items?${query({ address: wanted, buckets: 120 })}`) : null), [id, wanted],
    place?.status.done, (found) => setDensity(found && { ...found, address: wanted }), () => setDensity(null)); // the bar alone says enough
  return density?.address === wanted ? density : null;
}

function Density({ density, scale }) {
  const { buckets, from, to } = density;
  if (!buckets?.length) return null;
  let running = 0;
  const levels = buckets.map(([started, ended]) => {
    const seen = running + started;
    running = seen - ended;
    return seen;
  });
  const most = Math.max(1, ...levels), w = 100 / buckets.length;
  const path = levels.map((level, index) => `H${(index * w).toFixed(2)}V${(20 - (18 * level) / most).toFixed(2)}H${((index + 1) * w).toFixed(2)}`).join("");
  return html`<svg class="density" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true"
    style=${{ left: `${scale(from)}%`, width: `${Math.max(0.3, scale(to) - scale(from))}%` }}><path d=${`M0 20${path}V20Z`} /></svg>`;
}

function Bars({ place, model, scale, now, density, marks }) {
  const { status } = place, { started, ended, state } = status;
  const ready = model.ready(place), waits = started ?? (state === "waiting" && !model.isOver && ready ? now : null);
  const end = ended ?? (started != null ? (model.isOver ? model.run.ended : now) : null);
  const { total, found } = parts(status);
  const at = (from, to) => ({ left: `${scale(from)}%`, width: `${Math.max(0, scale(to) - scale(from))}%` });
  const isMany = place.isMany;
  const label = started == null ? "" : duration(status.seconds ?? (end != null ? end - started : null));
  const right = end != null && scale(end) > 82, side = !right ? "" : started != null && scale(started) > 22 ? "before" : "inside";
  return html`<div class="lane" title=${[subtitle(place, now), status.paused > 0 && `paused for ${duration(status.paused)} while its run was over`].filter(Boolean).join(", ")}>
    ${ready != null && waits != null && waits > ready && html`<i class="wait" style=${at(ready, waits)} />`}
    ${started != null && html`<i class=${`run s-${state} ${isMany ? "many" : ""} ${place.isBox && !place.own ? "box" : ""}`} style=${at(started, end)}>
      ${isMany && !density && found.map(([name, number]) => html`<b key=${name} class=${`fill s-${name}`} style=${{ width: `${(100 * number) / total}%` }} />`)}
    </i>`}
    ${density && html`<${Density} density=${density} scale=${scale} />`}
    ${marks?.map((mark) => html`<i key=${mark} class="mark" style=${{ left: `${scale(mark)}%` }} title="an attempt failed" />`)}
    ${model.run.pauses?.map(([from, to]) => started < from && end > to && html`<i key=${from} class="pause" style=${at(from, to)} title="the run was over" />`)}
    ${label && html`<span class=${`took ${side}`} style=${side === "" ? { left: `${scale(end)}%` } : { right: `${100 - scale(side === "before" ? started : end)}%` }}>${label}</span>`}
    ${started == null && status.why && html`<span class="took why" style=${{ left: `${Math.min(60, scale(waits ?? now))}%` }}>${status.why}</span>`}
  </div>`;
}

function Row({ place, style, isActive, isOpen, model, open, choose, toggle, filter, ...bars }) {
  const { status } = place;
  const fold = (event) => (event.stopPropagation(), toggle(place.address));
  const retried = status.retrying > 0 || model.retried.has(place.address);
  return html`<div id=${`row-${place.address}`} class=${`row s-${status.state} ${isActive ? "is-selected" : ""}`} style=${style} role="treeitem"
      data-address=${place.address} aria-level=${place.depth + 1} aria-selected=${isActive} aria-expanded=${place.isBox ? isOpen : undefined}
      aria-label=${`${place.address}, ${word(status.state)}, ${subtitle(place, bars.now)}`} onClick=${() => choose(place.address)}>
    <span class="name" style=${{ paddingLeft: `${8 + (filter ? 0 : 14 * Math.min(place.depth, 8))}px` }}>
      ${place.isBox && !filter ? html`<button class=${`fold ${isOpen ? "is-open" : ""}`} tabindex="-1" aria-label=${isOpen ? "Close" : "Open"} onClick=${fold}><svg viewBox="0 0 12 12"><path d="M4.5 2.5L8 6l-3.5 3.5" /></svg></button>` : html`<span class="fold" />`}
      <${StateIcon} state=${status.state} size=${14} />
      <span class="text" title=${place.address}>${filter ? place.address : place.label}</span>
      ${retried && html`<span class="tag" title="tried more than once">↻</span>`}
      ${place.isMany && html`<span class="n">${count(status.done)}/${count(status.total)}</span>`}
    </span>
    <${Bars} place=${place} model=${model} ...${bars} />
  </div>`;
}

function Timeline({ model, rows, open, toggle, selected, choose, filter, now, id, marks, onKeyDown }) {
  const axis = useRef(), size = useSize(axis);
  const whole = extent(model, now), span = whole.to - whole.from;
  const scale = (at) => Math.max(0, Math.min(100, (100 * (at - whole.from)) / span));
  const place = model.place(selected), active = useMemo(() => rows.indexOf(place), [rows, place]);
  const density = useDensity(model, place, id);
  const isLive = !model.isOver && model.run.started != null;
  const lines = ticks(whole, size.width * 0.94), pauses = model.run.pauses ?? [];
  return html`<div class="timeline">
    <div class="gridlines" aria-hidden="true"><span /><div class="lane">${pauses.map(([from, to]) => html`<b key=${from} style=${{ left: `${scale(from)}%`, width: `${scale(to) - scale(from)}%` }} />`)}${lines.map((seconds) => html`<i key=${seconds} style=${{ left: `${scale(whole.from + seconds)}%` }} />`)}</div></div>
    <div class="axis" title=${`from ${exact(whole.from)} to ${exact(whole.to)}`}>
      <span class="name">${count(rows.length)} ${rows.length === 1 ? "row" : "rows"}</span>
      <div class="lane" ref=${axis}>${lines.map((seconds) =>
        html`<span key=${seconds} class="tick" style=${{ left: `${scale(whole.from + seconds)}%` }} title=${clock(whole.from + seconds, 3)}>${tick(seconds)}</span>`)}</div>
    </div>
    <${Rows} count=${rows.length} height=${HEIGHT} label="Nodes of the run, when they ran" role="tree" active=${active} onKeyDown=${onKeyDown}
      class=${isLive ? "is-live" : ""} aria-activedescendant=${active >= 0 ? `row-${rows[active].address}` : undefined}
      row=${(index, style) => html`<${Row} key=${rows[index].address} place=${rows[index]} style=${style} model=${model} open=${open}
        isOpen=${open.has(rows[index].address)} isActive=${index === active} choose=${choose} toggle=${toggle} filter=${filter}
        scale=${scale} now=${now} density=${index === active ? density : null} marks=${marks.get(rows[index].address)} />`} />
    ${rows.length === 0 && html`<p class="empty">No node is like this.</p>`}
  </div>`;
}

export { Timeline };
