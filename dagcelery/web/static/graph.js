// The picture of a run's graph: as SVG while it is small enough to be read, on a canvas above that.
import { Component, html, useEffect, useMemo, useRef } from "./vendor/htm-preact-standalone.module.js";
import { Canvas } from "./canvas.js";
import { StateIcon, count, duration, parts, word } from "./format.js";
import { useSize } from "./hooks.js";
import { MOST, curve, picture, width } from "./layout.js";
import { useViewport } from "./viewport.js";

const ELLIPSIS = "…";

function cut(text, room, font) {
  if (!text || width(text, font) <= room) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (width(text.slice(0, middle) + ELLIPSIS, font) <= room) low = middle;
    else high = middle - 1;
  }
  return text.slice(0, low).trimEnd() + ELLIPSIS;
}

// What stands below a node's name: the one thing that matters most now.
function subtitle({ status, isMapped, kind }, now) {
  const { state, started, ended, seconds, total, done, why } = status;
  const took = seconds ?? (started != null && state === "running" ? now - started : null);
  const many = isMapped || total > 1;
  const number = many ? `${count(done)} / ${count(total)}` : "";
  if (state === "skipped") return kind === "branch" ? "not taken" : "skipped";
  if (state === "waiting") return why || (many && done ? number : "waiting");
  if (state === "stopped") return [number, "stopped"].filter(Boolean).join(" · ");
  if (state === "failed") return [number, ended != null ? `failed after ${duration(seconds)}` : "failed"].filter(Boolean).join(" · ");
  if (state === "retrying") return [number, why || "tried again soon"].filter(Boolean).join(" · ");
  return [number, duration(took)].filter(Boolean).join(" · ");
}

function said(place, now) {
  const { status } = place;
  return [place.address, word(status.state), subtitle(place, now)].filter(Boolean).join(", ");
}

function Bar({ status, w }) {
  const { total, found } = parts(status);
  let x = 0;
  return html`<g class="counts" transform="translate(10 38)">
    <rect class="track" width=${w} height="3" rx="1.5" />
    ${found.map(([name, number]) => {
      const from = x, long = (w * number) / total;
      x += long;
      return html`<rect key=${name} class=${`fill s-${name}`} x=${from} width=${Math.max(long, 1.5)} height="3" rx="1.5" />`;
    })}
  </g>`;
}

class Node extends Component {
  shouldComponentUpdate(next) {
    const last = this.props;
    const names = ["status", "isSelected", "isDim", "node", "choose"];
    return names.some((name) => last[name] !== next[name]) || (next.status.state === "running" && last.now !== next.now);
  }

  render({ node, status, isSelected, isDim, now, choose, toggle }) {
    const { place, x, y, w, h, isOpen } = node;
    const classes = ["node", `s-${status.state}`, place.isBox && "is-box", isOpen && "is-open", isSelected && "is-selected",
      isDim && "is-dim", place.kind.includes("branch") && "is-branch"].filter(Boolean).join(" ");
    const many = place.isMany && !isOpen;
    const room = w - (place.isBox ? 62 : 42);
    const fold = (event) => (event.stopPropagation(), toggle(place.address));
    return html`<g class=${classes} transform=${`translate(${x} ${y})`} role="treeitem" aria-label=${said(place, now)}
        aria-selected=${isSelected} aria-expanded=${place.isBox ? isOpen : undefined} data-address=${place.address}
        onClick=${() => choose(place.address)} onDblClick=${place.isBox ? fold : undefined}>
      <title>${said(place, now)}</title>
      ${many && html`<rect class="behind" x="4" y="-4" width=${w} height=${h} rx="8" />`}
      <rect class="card" width=${w} height=${h} rx=${isOpen ? 10 : 8} />
      <${StateIcon} state=${status.state} x=${10} y=${isOpen ? 9 : 8} size=${15} />
      <text class="label" x="32" y=${isOpen ? 21 : 20}>${cut(place.label, room)}</text>
      ${isOpen
        ? html`<text class="sub" x=${38 + width(cut(place.label, room))} y="21">${cut(subtitle(place, now), w - 76 - width(place.label), "11px system-ui")}</text>`
        : html`<text class="sub" x="32" y="34">${cut(subtitle(place, now), w - 42, "11px system-ui")}</text>`}
      ${many && html`<${Bar} status=${status} w=${w - 20} />`}
      ${place.isBox && html`<g class="fold" transform=${`translate(${w - 28} 5)`} onClick=${fold}>
        <rect width="22" height="22" rx="5" /><path d=${isOpen ? "M7 9.5l4 4 4-4" : "M9.5 7l4 4-4 4"} />
      </g>`}
    </g>`;
  }
}

function Tools({ port, open, model, setOpen }) {
  const boxes = [...model.places.values()].filter((place) => place.isBox).map((place) => place.address);
  const isAll = boxes.every((address) => open.has(address));
  return html`<div class="tools" role="toolbar" aria-label="Graph">
    ${boxes.length > 0 && html`<button title=${isAll ? "Close all boxes" : "Open all boxes"} onClick=${() => setOpen(new Set(isAll ? [] : boxes))}>
      ${isAll ? "Close all" : "Open all"}</button>`}
    <button title="Zoom out" aria-label="Zoom out" onClick=${() => port.zoom(0.8)}>−</button>
    <button title="Zoom in" aria-label="Zoom in" onClick=${() => port.zoom(1.25)}>+</button>
    <button title="Show all of it" onClick=${port.fit}>Fit</button>
  </div>`;
}

function edgeClass({ kind, from, to }, model, related, selected) {
  const status = model.places.get(to)?.status, source = model.places.get(from)?.status;
  return ["edge", kind === "order" && "is-order", source?.state === "done" && "is-done",
    (status?.state === "skipped" || source?.state === "skipped") && "is-skipped",
    related && (from === selected || to === selected) ? "is-near" : related && !(related.has(from) && related.has(to)) && "is-dim",
  ].filter(Boolean).join(" ");
}

// What matters most now: the chosen node, else one that failed, else one that runs.
function focus({ nodes }, chosen) {
  const found = (test) => nodes.find((node) => !node.isOpen && test(node.place));
  return found((place) => place.address === chosen) ?? ["failed", "retrying", "running"].map((state) => found((place) => place.status.state === state)).find(Boolean);
}

function GraphView({ model, open, setOpen, toggle, selected, choose, filter, now, isPlan }) {
  const box = useRef(), size = useSize(box);
  const drawn = useMemo(() => (size.width ? picture(model, open, size) : null), [model, model.shape, open, size.width > 0]);
  const place = model.place(selected), chosen = place?.address ?? null;
  const port = useViewport(box, drawn, size, drawn && focus(drawn, chosen), isPlan ? 0.5 : 0.76);
  const related = useMemo(() => (chosen ? model.related(chosen) : null), [model, model.shape, chosen]);
  useEffect(() => {
    const node = chosen && drawn?.nodes.find((each) => each.place.address === chosen);
    if (node && port.view) port.show(node);
  }, [chosen, drawn]);
  // A closed box stands for all that lies in it.
  const isRelated = (each) => related.has(each.address) || each.children.some(isRelated);
  const isDim = (each) => (filter ? !filter(each) && !(each.isBox && open.has(each.address)) : related ? !isRelated(each) : false);
  const isBig = drawn && drawn.nodes.length > MOST;
  const pick = (address) => port.wasDragged() || choose(address);
  const shared = { drawn, model, view: port.view, size, selected: chosen, related, filter, now };
  return html`<div class="graph" ref=${box} ...${port.handlers} onDblClick=${(event) => event.target.closest(".node") || port.fit()}>
    ${drawn && port.view && !isBig && html`<svg width="100%" height="100%" role="tree" aria-label="Graph of the run"
        onClick=${(event) => event.target.closest(".node") || pick("")}>
      <defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
        <path d="M1 1l6 3-6 3z" /></marker></defs>
      <g transform=${`translate(${port.view.x} ${port.view.y}) scale(${port.view.k})`}>
        ${drawn.nodes.filter((node) => node.isOpen).map((node) => html`<${Node} key=${node.place.address} node=${node}
          status=${node.place.status} isSelected=${node.place.address === chosen} isDim=${isDim(node.place)} now=${now} choose=${pick} toggle=${toggle} />`)}
        ${drawn.edges.map((edge) => html`<path key=${`${edge.from} ${edge.to}`} class=${edgeClass(edge, model, related, chosen)} d=${curve(edge.points)} marker-end="url(#arrow)" />`)}
        ${drawn.nodes.filter((node) => !node.isOpen).map((node) => html`<${Node} key=${node.place.address} node=${node}
          status=${node.place.status} isSelected=${node.place.address === chosen} now=${now} choose=${pick} toggle=${toggle} isDim=${isDim(node.place)} />`)}
      </g></svg>`}
    ${isBig && port.view && html`<${Canvas} ...${shared} choose=${pick} toggle=${toggle} />`}
    ${drawn && html`<${Tools} port=${port} open=${open} model=${model} setOpen=${setOpen} />`}
    ${drawn && drawn.nodes.length === 0 && html`<p class="empty">This run has no nodes.</p>`}
  </div>`;
}

export { GraphView, cut, subtitle };
