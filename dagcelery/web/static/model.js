// A run as the page keeps it: a tree of places, each with its status; what a change says is patched into it.
//
// A place is a node, or a box that holds others: a nested DAG, a branch, what a running task has grown. Boxes without a
// status of their own have that of what lies in them.

const ORDER = ["failed", "retrying", "running"];

// train[3]/fit[2] lies in train[*]/fit, and fit[2] in fit.
const nodeOf = (address) =>
  address.split("/").map((part, at, all) => (at < all.length - 1 ? part.replace(/\[[\d:]+\]$/, "[*]") : part.replace(/\[[\d:*]+\]$/, ""))).join("/");

const sum = (places, name) => places.reduce((all, place) => all + (place[name] ?? 0), 0);

function together(places) {
  const states = new Set(places.map((place) => place.state));
  const first = ORDER.find((state) => states.has(state));
  const begun = places.map((place) => place.started).filter((at) => at != null);
  const ended = places.map((place) => place.ended).filter((at) => at != null);
  const isOver = places.every((place) => place.ended != null || ["done", "skipped", "stopped"].includes(place.state));
  let state = first;
  if (!state && [...states].every((each) => each === "skipped")) state = "skipped";
  if (!state && [...states].every((each) => each === "done" || each === "skipped")) state = "done";
  if (!state) state = states.has("stopped") ? "stopped" : begun.length ? "running" : "waiting";
  const started = begun.length ? Math.min(...begun) : null, end = isOver && ended.length ? Math.max(...ended) : null;
  return {
    state, started, ended: end, seconds: started != null && end != null ? end - started : null,
    total: places.some((place) => place.total == null) ? null : sum(places, "total"),
    ...Object.fromEntries(["done", "running", "retrying", "failed", "skipped", "stopped"].map((name) => [name, sum(places, name)])),
    why: "", queue: "", pieces: [],
  };
}

function put(lists, key, value) {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}

// Graphs of one run grow; what grew and was taken back may come again with as many nodes, but others.
const sizes = (graph) => [graph.nodes?.length, graph.edges?.length].join();
const isAlike = (nodes, others) => nodes.length === others.length && nodes.every((node, at) => node.name === others[at]?.name);

class Place {
  constructor(address, from = {}) {
    this.address = address;
    this.label = from.label || address.split("/").pop();
    this.kind = from.kind || "task";
    this.taints = from.taints ?? [];
    this.queue = from.queue ?? "";
    this.parent = null;
    this.children = [];
    this.depth = 0;
    this.own = null; // its status, as the server gave it
    this.status = null; // that, or what its children make of it
  }

  get isMapped() {
    return this.own?.is_fan_out ?? this.kind.startsWith("mapped");
  }

  // Whether it has a number of pieces to be counted.
  get isMany() {
    return this.status.total > 1 || (this.isMapped && this.status.total !== 1);
  }

  get isBox() {
    return this.children.length > 0;
  }
}

class RunModel {
  constructor(answer) {
    this.version = 0;
    this.replace(answer);
  }

  replace(answer) {
    const graph = answer.graph ?? this.graph ?? { nodes: [], edges: [] };
    const isSame = this.graph && sizes(graph) === sizes(this.graph) && isAlike(answer.nodes, this.nodes);
    this.run = answer.run;
    this.nodes = answer.usual ? answer.nodes.map((node) => ({ ...answer.usual, ...node })) : answer.nodes; // what is usual is told once
    if (!isSame) this.graph = graph;
    this.errors = answer.errors ?? this.errors ?? [];
    this.result = answer.result ?? null;
    this.code = answer.code ?? this.code;
    this.links = answer.links ?? this.links ?? {};
    this.retried = new Set(this.errors.filter((error) => !error.stands).map((error) => nodeOf(error.address)));
    if (isSame) this.#tell();
    else this.#grow();
  }

  // Applies what an event says; returns whether it told of nodes that no graph is known of.
  patch({ run, nodes, graph }) {
    if (run) this.run = { ...this.run, ...run };
    let isNew = false;
    for (const [index, changed] of Object.entries(nodes ?? {})) {
      isNew ||= !(index in this.nodes);
      this.nodes[index] = { ...this.nodes[index], ...changed };
    }
    if (graph) this.graph = graph;
    if (graph || isNew) this.#grow();
    else this.#tell();
    return isNew && !graph;
  }

  get isOver() {
    return this.run.ended != null && !["pending", "running"].includes(this.run.state);
  }

  // -- the tree --------------------------------------------------------------------------------
  #grow() {
    this.places = new Map();
    for (const node of this.graph.nodes ?? []) this.places.set(node.address, new Place(node.address, node));
    for (const node of this.nodes) if (!this.places.has(node.name)) this.places.set(node.name, new Place(node.name));
    this.roots = [];
    const given = new Map((this.graph.nodes ?? []).map((node) => [node.address, node.parent]));
    for (const place of this.places.values()) {
      const parent = this.places.get(given.get(place.address) || this.#around(place.address));
      place.parent = parent && parent !== place ? parent : null;
      (place.parent?.children ?? this.roots).push(place);
    }
    const deepen = (places, depth) => {
      for (const place of places) {
        place.depth = depth;
        deepen(place.children, depth + 1);
      }
    };
    deepen(this.roots, 0);
    this.edges = (this.graph.edges ?? []).map((edge) => ({
      from: edge.from ?? edge.source, to: edge.to ?? edge.target, kind: edge.kind ?? "data",
    })).filter((edge) => this.places.has(edge.from) && this.places.has(edge.to));
    this.before = new Map();
    this.after = new Map();
    for (const { from, to } of this.edges) {
      put(this.before, to, from);
      put(this.after, from, to);
    }
    this.shape = (this.shape ?? 0) + 1;
    this.#tell();
  }

  // The box that a name itself tells of, where no graph does: row[*]/total lies in row.
  #around(address) {
    for (let end = address.lastIndexOf("/"); end > 0; end = address.lastIndexOf("/", end - 1)) {
      const prefix = address.slice(0, end), box = nodeOf(prefix);
      if (this.places.has(prefix)) return prefix;
      if (this.places.has(box)) return box;
    }
    return "";
  }

  #tell() {
    this.version += 1;
    for (const node of this.nodes) {
      const place = this.places.get(node.name);
      if (place) place.own = node;
    }
    const tell = (place) => {
      const inner = place.children.map(tell);
      place.status = place.own ?? (inner.length ? together(inner) : { ...together([]), state: "waiting", total: 1 });
      return place.status;
    };
    this.roots.forEach(tell);
    this.counts = {};
    for (const place of this.places.values()) {
      if (!place.isBox || place.own) this.counts[place.status.state] = (this.counts[place.status.state] ?? 0) + 1;
    }
  }

  place(address) {
    return address ? this.places.get(address) ?? this.places.get(nodeOf(address)) ?? null : null;
  }

  // -- what is shown ----------------------------------------------------------------------------
  // Boxes that are open at first: all, if that is not much.
  opened() {
    const boxes = [...this.places.values()].filter((place) => place.isBox);
    return new Set(this.places.size <= 60 ? boxes.map((place) => place.address) : []);
  }

  rows(open, filter) {
    const shown = [];
    const walk = (places) => {
      for (const place of places) {
        if (!filter || filter(place)) shown.push(place);
        if (filter || open.has(place.address)) walk(place.children);
      }
    };
    walk(this.roots);
    return shown;
  }

  // The edges between the direct members of each open box, so that each ends where something is drawn.
  edgesBetween(open) {
    const within = new Map();
    const path = (address) => {
      const way = [];
      for (let place = this.places.get(address); place; place = place.parent) way.unshift(place);
      return way;
    };
    const paths = new Map();
    const cached = (address) => paths.get(address) ?? (paths.set(address, path(address)), paths.get(address));
    for (const { from, to, kind } of this.edges) {
      const a = cached(from), b = cached(to);
      let level = 0;
      while (a[level] && a[level] === b[level]) level += 1;
      if (!a[level] || !b[level]) continue; // one lies in the other
      const around = level ? a[level - 1] : null;
      if (a.slice(0, level).some((place) => !open.has(place.address))) continue;
      const key = around?.address ?? "";
      if (!within.has(key)) within.set(key, new Map());
      const ends = { from: a[level].address, to: b[level].address, kind }, id = `${ends.from}\n${ends.to}`;
      const known = within.get(key).get(id);
      if (!known || known.kind === "order") within.get(key).set(id, ends);
    }
    return (box) => [...(within.get(box ?? "")?.values() ?? [])];
  }

  // All that leads to a place, and all that follows from it.
  related(address) {
    const way = [], inner = [this.places.get(address)];
    for (let place = inner[0].parent; place; place = place.parent) way.push(place.address);
    for (const place of inner) {
      way.push(place.address);
      inner.push(...place.children);
    }
    const found = new Set(way);
    for (const ways of [this.before, this.after]) {
      const rest = [...way], seen = new Set(rest);
      while (rest.length) {
        for (const next of ways.get(rest.pop()) ?? []) if (!seen.has(next)) rest.push(next), seen.add(next);
      }
      seen.forEach((each) => found.add(each));
    }
    return found;
  }

  // When a place could begin at the earliest: what it needs was done. Until it began it waited.
  ready(place) {
    if (this.run.started == null || (place.isBox && !place.own)) return null;
    const needed = [], around = place.parent?.status.started ?? this.run.started;
    for (let each = place; each; each = each.parent) {
      for (const before of this.before.get(each.address) ?? []) needed.push(this.places.get(before).status);
    }
    if (needed.some((each) => each.ended == null && each.state !== "skipped")) return place.status.started;
    return needed.reduce((last, each) => Math.max(last, each.ended ?? 0), around);
  }
}

export { RunModel, isAlike, nodeOf };
