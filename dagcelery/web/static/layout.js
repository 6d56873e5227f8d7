// Where things stand in the picture of a graph: boxes within boxes, each laid out by itself.
//
// dagre does so where it takes a few tenths of a second; above that, ranks by longest path and an order by barycentres,
// in O(edges).
import { Graph, layout as dagre } from "./vendor/dagre.esm.js";

const MOST = 400; // nodes of a picture that is SVG
const EFFORT = 400; // nodes and edges of a box that dagre lays out
const HEIGHT = 45;
const NARROW = 118;
const BROAD = 150;
const WIDE = 236;
const PAD = 16;
const HEAD = 34;
const GAP = { within: 18, between: 38 };

let pen = null;
function width(text, font = "500 13px system-ui, sans-serif") {
  pen ??= document.createElement("canvas").getContext("2d");
  pen.font = font;
  return pen.measureText(text).width;
}

// Room for the numbers of a node's pieces.
const broad = ({ status }) => Math.max(BROAD, 110 + 12 * String(status.total ?? "").length);

// Of thousands nobody sees whether a box fits its text to the pixel, and measuring takes its time.
function size(place, isCrowded) {
  const text = isCrowded ? 7.4 * place.label.length : width(place.label);
  return { w: Math.round(Math.min(WIDE, Math.max(place.isMany ? broad(place) : NARROW, text + (place.isBox ? 62 : 46)))), h: HEIGHT };
}

// -- one box by dagre -----------------------------------------------------------------------------
function byDagre(items, edges, direction) {
  const graph = new Graph().setGraph({ rankdir: direction, nodesep: GAP.within, ranksep: GAP.between, marginx: 0, marginy: 0 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const item of items) graph.setNode(item.id, { width: item.w, height: item.h });
  for (const { from, to } of edges) graph.setEdge(from, to, {});
  dagre(graph);
  for (const item of items) {
    const { x, y } = graph.node(item.id);
    item.x = x - item.w / 2;
    item.y = y - item.h / 2;
  }
  return edges.map((edge) => ({ ...edge, points: graph.edge(edge.from, edge.to).points }));
}

// -- one box by ranks -----------------------------------------------------------------------------
function ranked(items, edges) {
  const at = new Map(items.map((item, index) => [item.id, index]));
  const after = items.map(() => []), before = items.map(() => []), missing = new Int32Array(items.length);
  for (const { from, to } of edges) {
    after[at.get(from)].push(at.get(to));
    before[at.get(to)].push(at.get(from));
    missing[at.get(to)] += 1;
  }
  const rank = new Int32Array(items.length), ready = items.map((_, index) => index).filter((index) => !missing[index]);
  for (let next = 0; next < ready.length; next++) {
    for (const to of after[ready[next]]) {
      rank[to] = Math.max(rank[to], rank[ready[next]] + 1);
      if (!--missing[to]) ready.push(to);
    }
  }
  const ranks = [];
  items.forEach((_, index) => (ranks[rank[index]] ??= []).push(index));
  return { ranks, before };
}

// Each rank is a column, or several where it is long; its order follows that of the rank before.
function byRanks(items, edges) {
  const { ranks, before } = ranked(items, edges);
  const tallest = Math.max(16, Math.ceil(Math.sqrt(items.length) * 1.6));
  const place = new Float64Array(items.length);
  let x = 0;
  for (const rank of ranks) {
    const weight = new Map(rank.map((index, order) => {
      const needed = before[index];
      return [index, needed.length ? needed.reduce((all, each) => all + place[each], 0) / needed.length : order / rank.length];
    }));
    rank.sort((a, b) => weight.get(a) - weight.get(b));
    const columns = Math.ceil(rank.length / tallest), tall = Math.ceil(rank.length / columns);
    for (let column = 0; column < columns; column++) {
      const here = rank.slice(column * tall, (column + 1) * tall);
      const across = Math.max(...here.map((index) => items[index].w));
      let y = 0;
      const height = here.reduce((all, index) => all + items[index].h + 12, -12);
      for (const index of here) {
        Object.assign(items[index], { x, y: y - height / 2 });
        y += items[index].h + 12;
      }
      x += across + (column < columns - 1 ? 14 : 70);
    }
    rank.forEach((index, order) => (place[index] = (order + 0.5) / rank.length));
  }
  const top = Math.min(...items.map((item) => item.y));
  items.forEach((item) => (item.y -= top));
  return edges.map((edge) => ({ ...edge, points: null }));
}

// -- all of it ------------------------------------------------------------------------------------
function arranged(places, open, edgesOf, direction, box) {
  const isCrowded = places.length > MOST;
  const items = places.map((place) => {
    if (!place.isBox || !open.has(place.address)) return { id: place.address, place, ...size(place, isCrowded) };
    const inner = arranged(place.children, open, edgesOf, direction, place.address);
    const least = width(place.label) + 160; // with its numbers beside its name
    return { id: place.address, place, inner, w: Math.max(inner.w + 2 * PAD, least), h: inner.h + HEAD + PAD };
  });
  const edges = edgesOf(box);
  const drawn = !items.length ? [] : items.length + edges.length > EFFORT ? byRanks(items, edges) : byDagre(items, edges, direction);
  return {
    items, edges: drawn,
    w: Math.max(0, ...items.map((item) => item.x + item.w)),
    h: Math.max(0, ...items.map((item) => item.y + item.h)),
  };
}

// A line from side to side where no points are known.
function straight(a, b) {
  const isRight = b.x >= a.x + a.w - 1;
  if (isRight) return [{ x: a.x + a.w, y: a.y + a.h / 2 }, { x: b.x, y: b.y + b.h / 2 }];
  return [{ x: a.x + a.w / 2, y: a.y + a.h }, { x: b.x + b.w / 2, y: b.y }];
}

function flat(arrangement) {
  const nodes = [], edges = [];
  const walk = ({ items, edges: inner }, dx, dy) => {
    const at = new Map();
    for (const item of items) {
      const node = { place: item.place, x: item.x + dx, y: item.y + dy, w: item.w, h: item.h, isOpen: !!item.inner };
      at.set(item.id, node);
      nodes.push(node);
      if (item.inner) walk(item.inner, node.x + (item.w - item.inner.w) / 2, node.y + HEAD);
    }
    for (const edge of inner) {
      const points = edge.points?.map(({ x, y }) => ({ x: x + dx, y: y + dy })) ?? straight(at.get(edge.from), at.get(edge.to));
      edges.push({ ...edge, points });
    }
  };
  walk(arrangement, 0, 0);
  return { nodes, edges, w: arrangement.w, h: arrangement.h };
}

// Returns nodes and edges with places; of both directions the one that fits better into what is there.
function picture(model, open, pane) {
  const edgesOf = model.edgesBetween(open);
  const drawn = (direction) => arranged(model.roots, open, edgesOf, direction, null);
  const across = drawn("LR");
  const scale = ({ w, h }) => Math.min(1, pane.width / (w + 48), pane.height / (h + 48));
  if (model.places.size + model.edges.length > EFFORT || scale(across) >= 0.8) return flat(across);
  const down = drawn("TB");
  return flat(scale(down) > 1.2 * scale(across) ? down : across);
}

// A smooth line through points, which leaves and arrives in the direction of its first and last part.
function curve(points) {
  const [first, ...rest] = points;
  let path = `M${first.x.toFixed(1)} ${first.y.toFixed(1)}`;
  if (rest.length === 1) {
    const [last] = rest, half = (last.x - first.x) / 2;
    return `${path}C${(first.x + half).toFixed(1)} ${first.y.toFixed(1)} ${(last.x - half).toFixed(1)} ${last.y.toFixed(1)} ${last.x.toFixed(1)} ${last.y.toFixed(1)}`;
  }
  for (let at = 0; at < rest.length - 1; at++) {
    const here = rest[at], next = rest[at + 1], isLast = at === rest.length - 2;
    const end = isLast ? next : { x: (here.x + next.x) / 2, y: (here.y + next.y) / 2 };
    path += `Q${here.x.toFixed(1)} ${here.y.toFixed(1)} ${end.x.toFixed(1)} ${end.y.toFixed(1)}`;
  }
  return path;
}

export { HEAD, MOST, curve, picture, width };
