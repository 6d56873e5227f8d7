// A graph of thousands of nodes: what is visible is drawn on a canvas, in as much detail as can be seen.
import { html, useEffect, useRef } from "./vendor/htm-preact-standalone.module.js";
import { SHAPES, known } from "./format.js";

const READABLE = 0.45;
const COARSE = 0.16;

function palette(element) {
  const style = getComputedStyle(element), colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ["surface", "raised", "line", "edge", "text", "muted", "accent", "accent-soft"];
  const states = Object.keys(SHAPES);
  return {
    ...Object.fromEntries(names.map((name) => [name, colour(name)])),
    states: Object.fromEntries(states.map((state) => [state, colour(`s-${state}`)])),
  };
}

function icon(pen, state, x, y, colours) {
  const shape = SHAPES[known(state)], colour = colours.states[known(state)];
  pen.save();
  pen.translate(x, y);
  pen.fillStyle = pen.strokeStyle = colour;
  pen.lineWidth = 1.6;
  const disc = (radius) => (pen.beginPath(), pen.arc(8, 8, radius, 0, 2 * Math.PI));
  if (shape.disc) disc(6.5), pen.fill();
  if (shape.ring) pen.setLineDash(shape.dashed ? [2.2, 2.3] : []), disc(5.75), pen.stroke(), pen.setLineDash([]);
  if (shape.dot) disc(2.75), pen.fill();
  if (shape.square) pen.fillRect(3, 3, 10, 10);
  if (shape.line) pen.stroke(new Path2D(shape.line));
  if (shape.mark) pen.strokeStyle = colours.raised, pen.stroke(new Path2D(shape.mark));
  pen.restore();
}

function node(pen, each, k, colours, isSelected, isDim) {
  const { x, y, w, h, place } = each, state = place.status.state;
  pen.globalAlpha = isDim ? 0.25 : 1;
  if (k < COARSE && !each.isOpen) {
    pen.fillStyle = isSelected ? colours.accent : colours.states[known(state)];
    pen.fillRect(x, y, w, h);
    return;
  }
  pen.beginPath();
  pen.roundRect(x, y, w, h, 8);
  pen.fillStyle = isSelected ? colours["accent-soft"] : each.isOpen ? colours.surface : colours.raised;
  pen.fill();
  pen.lineWidth = isSelected ? 2 : 1;
  pen.strokeStyle = isSelected ? colours.accent : colours.line;
  pen.stroke();
  if (k < READABLE) {
    pen.fillStyle = colours.states[known(state)];
    pen.fillRect(x + 8, y + 8, 14, h - 16);
    if (k < 0.25) return;
  } else icon(pen, state, x + 9, y + (each.isOpen ? 9 : 15), colours);
  pen.fillStyle = state === "skipped" ? colours.muted : colours.text;
  pen.font = "500 13px system-ui, sans-serif";
  pen.save();
  pen.beginPath();
  pen.rect(x, y, w - 8, h);
  pen.clip();
  pen.fillText(place.label, x + 32, y + (each.isOpen ? 21 : 28));
  pen.restore();
}

function edges(pen, drawn, seen, k, colours, selected) {
  pen.lineWidth = Math.max(1, 0.7 / k);
  const line = ({ points }) => {
    const first = points[0], last = points.at(-1);
    if (Math.max(first.x, last.x) < seen.x || Math.min(first.x, last.x) > seen.x + seen.w) return;
    if (Math.max(first.y, last.y) < seen.y || Math.min(first.y, last.y) > seen.y + seen.h) return;
    const half = (last.x - first.x) / 2;
    pen.moveTo(first.x, first.y);
    pen.bezierCurveTo(first.x + half, first.y, last.x - half, last.y, last.x, last.y);
  };
  pen.globalAlpha = drawn.edges.length > 4000 && k < COARSE ? 0.25 : 0.8;
  pen.strokeStyle = colours.edge;
  pen.beginPath();
  drawn.edges.forEach(line);
  pen.stroke();
  if (!selected) return;
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.accent;
  pen.lineWidth = Math.max(1.5, 1.2 / k);
  pen.beginPath();
  drawn.edges.filter(({ from, to }) => from === selected || to === selected).forEach(line);
  pen.stroke();
}

function draw(canvas, { drawn, view, size, selected, filter }) {
  const ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d"), colours = palette(canvas), { x, y, k } = view;
  if (canvas.width !== Math.round(size.width * ratio) || canvas.height !== Math.round(size.height * ratio)) {
    canvas.width = Math.round(size.width * ratio);
    canvas.height = Math.round(size.height * ratio);
  }
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.setTransform(k * ratio, 0, 0, k * ratio, x * ratio, y * ratio);
  const seen = { x: -x / k, y: -y / k, w: size.width / k, h: size.height / k };
  const isSeen = (each) => each.x < seen.x + seen.w && each.x + each.w > seen.x && each.y < seen.y + seen.h && each.y + each.h > seen.y;
  const visible = drawn.nodes.filter(isSeen);
  for (const each of visible.filter((one) => one.isOpen)) node(pen, each, k, colours, each.place.address === selected, false);
  edges(pen, drawn, seen, k, colours, selected);
  for (const each of visible) if (!each.isOpen) node(pen, each, k, colours, each.place.address === selected, filter ? !filter(each.place) : false);
}

// The topmost node at a point of the canvas.
function hit(drawn, view, event) {
  const box = event.currentTarget.getBoundingClientRect();
  const x = (event.clientX - box.left - view.x) / view.k, y = (event.clientY - box.top - view.y) / view.k;
  return drawn.nodes.findLast((each) => x >= each.x && x <= each.x + each.w && y >= each.y && y <= each.y + each.h);
}

function Canvas(props) {
  const ref = useRef(), { drawn, view, choose, toggle, size } = props;
  useEffect(() => {
    const frame = requestAnimationFrame(() => draw(ref.current, props));
    return () => cancelAnimationFrame(frame);
  }, [drawn, view, size.width, size.height, props.selected, props.filter, props.model.version, matchMedia("(prefers-color-scheme: dark)").matches]);
  const fold = (event) => {
    event.stopPropagation();
    const found = hit(drawn, view, event);
    if (found?.place.isBox) toggle(found.place.address);
  };
  return html`<canvas ref=${ref} role="img" style=${{ width: `${size.width}px`, height: `${size.height}px` }}
    aria-label=${`Graph of ${drawn.nodes.length} nodes; the timeline lists them`}
    onClick=${(event) => choose(hit(drawn, view, event)?.place.address ?? "")} onDblClick=${fold} />`;
}

export { Canvas };
