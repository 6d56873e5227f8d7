// The page of a run: what it is, its graph and its timeline side by side, and what is known of the chosen node.
import { html, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { Action } from "./actions.js";
import { at, isOffline, run as pathOf } from "./api.js";
import { NODE_STATES, StateIcon, Time, ago, count, duration, moment, percent, plural, word } from "./format.js";
import { GraphView } from "./graph.js";
import { useNow } from "./hooks.js";
import { useRun } from "./live.js";
import { nodeOf } from "./model.js";
import { NodePanel } from "./node.js";
import { address, choose as chooseInUrl } from "./route.js";
import { Timeline } from "./timeline.js";
import { Copy, Errors, Value } from "./values.js";

function progress(nodes) {
  const known = nodes.filter((node) => node.total != null);
  const total = known.reduce((sum, node) => sum + node.total, 0);
  const done = known.reduce((sum, node) => sum + node.done + node.skipped, 0);
  return { total, done, isKnown: known.length === nodes.length };
}

function News({ model, choose }) {
  const { run, nodes } = model;
  const stuck = nodes.filter((node) => node.is_stuck);
  if (run.failed) return html`<p class="news is-bad" role="alert"><${StateIcon} state="failed" size=${14} />
    <button class="link address" onClick=${() => choose(run.failed)}>${run.failed}</button> <span class="text">${run.error}</span></p>`;
  const text = run.reason || run.why;
  if (text) return html`<p class=${`news ${run.reason && run.state !== "done" ? "is-bad" : "is-stuck"}`}>${text}</p>`;
  if (stuck.length) return html`<p class="news is-stuck" role="alert"><${StateIcon} state="waiting" size=${14} />
    <button class="link address" onClick=${() => choose(stuck[0].name)}>${stuck[0].name}</button>
    <span class="text">${stuck[0].why}${stuck.length > 1 ? ` (${count(stuck.length - 1)} more like this)` : ""}</span></p>`;
  return null;
}

function Head({ model, id, follower, now, choose, acted }) {
  const { run } = model, { total, done, isKnown } = progress(model.nodes);
  const took = run.seconds ?? (run.started != null && !model.isOver ? now - run.started - (run.paused ?? 0) : null);
  const params = Object.entries(run.params ?? {});
  const links = [["Flower", model.links.flower], ["Traces", model.links.trace], ["Logs", model.links.log]].filter(([, to]) => to);
  const facts = [
    ["Started", run.started == null ? "not yet" : html`<${Time} at=${run.started}>${moment(run.started, now)}${now - run.started < 86400 && html` <span class="muted">${ago(run.started, now)}</span>`}<//>`],
    ["Duration", took == null ? "–" : duration(took)],
    ["Pieces", `${count(done)} of ${count(total)}${isKnown ? "" : " so far"}`],
    run.key != null && ["Key", html`<code>${run.key}</code>`],
    run.deadline != null && ["Deadline", html`<${Time} at=${run.deadline}>${moment(run.deadline, now)}<//>`],
    run.epoch > 1 && ["Begun", plural(run.epoch, "time")],
    run.paused > 0 && ["Paused", duration(run.paused)],
  ].filter(Boolean);
  return html`<header class="run-head">
    <div class="title">
      <${StateIcon} state=${run.state} size=${22} />
      <h1><a href=${isOffline ? undefined : address("dag", run.name)}>${run.name}</a></h1>
      <span class=${`state s-${run.state}`}>${word(run.state)}</span>
      <span class="id"><code>${run.id}</code><${Copy} text=${run.id} label="Copy the run's id" /></span>
      ${!model.isOver && !isOffline && html`<span class=${`live is-${follower.state}`} title=${follower.state === "lost" ? "The connection is lost; what is shown may be old" : "Changes are shown as they happen"}><i />${follower.state === "lost" ? "connecting" : "live"}</span>`}
      <span class="grow" />
      ${links.map(([name, to]) => html`<a key=${name} class="button quiet" href=${to} target="_blank" rel="noreferrer">${name}</a>`)}
      ${!isOffline && html`<a class="button quiet" href=${at(`${pathOf(id)}/trace`)} download=${`run-${id}.trace.json`} title="A trace for ui.perfetto.dev or chrome://tracing">Trace</a>
        ${model.isOver && html`<a class="button quiet" href=${at(`${pathOf(id)}/report`)} download title="This page as one file">Save</a>`}`}
      <${Action} id=${id} action="delete" state=${run.state} done=${acted} />
      <${Action} id=${id} action="cancel" state=${run.state} done=${acted} />
      <${Action} id=${id} action="resume" state=${run.state} done=${acted} />
    </div>
    <div class="meta">
      ${facts.map(([name, text]) => html`<span key=${name} class="fact"><span class="muted">${name}</span> ${text}</span>`)}
      ${params.length > 0 && html`<span class="params">${params.map(([name, text]) => html`<code key=${name} title=${`${name}=${text}`}><span class="muted">${name}=</span>${text}</code>`)}</span>`}
    </div>
    <div class=${`line s-${run.state}`} role="progressbar" aria-label="Pieces done" aria-valuemin="0" aria-valuemax=${total} aria-valuenow=${done}><i style=${{ width: `${total ? (100 * done) / total : 0}%` }} /></div>
    ${follower.error && html`<p class="news is-bad" role="alert"><b>${follower.error.type}</b> <span class="text">${follower.error.message}</span></p>`}
    <${News} model=${model} choose=${choose} />
  </header>`;
}

function Filter({ model, text, states, view, setValues, input }) {
  const chosen = new Set(states ? states.split(",") : []);
  const flip = (state) => {
    const next = new Set(chosen);
    if (!next.delete(state)) next.add(state);
    setValues({ states: [...next].join(",") });
  };
  return html`<div class="filter">
    <input ref=${input} type="search" placeholder="Filter nodes  /" aria-label="Filter nodes by name" value=${text} onInput=${(event) => setValues({ filter: event.currentTarget.value })} />
    <div class="chips" role="group" aria-label="Nodes in a state">${NODE_STATES.filter((state) => model.counts[state] || chosen.has(state)).map((state) => html`<button key=${state} class="chip"
      aria-pressed=${chosen.has(state)} onClick=${() => flip(state)}><${StateIcon} state=${state} size=${12} /> ${word(state)} <span class="n">${count(model.counts[state] ?? 0)}</span></button>`)}</div>
    <span class="grow" />
    <div class="views" role="group" aria-label="What is shown">${["graph", "both", "timeline"].map((each) => html`<button key=${each} class="chip"
      aria-pressed=${(view || "both") === each} onClick=${() => setValues({ view: each === "both" ? "" : each })}>${each === "both" ? "Both" : each === "graph" ? "Graph" : "Timeline"}</button>`)}</div>
  </div>`;
}

function Summary({ model, choose }) {
  const { errors, result, run } = model;
  const rank = (node) => (node.is_stuck ? 0 : node.why.startsWith("needs ") ? 2 : 1); // of what waits for others, others tell
  const waiting = model.isOver ? [] : model.nodes.filter((node) => node.why).sort((a, b) => rank(a) - rank(b)).slice(0, 50);
  const code = Object.entries(model.code ?? {});
  return html`<section class="panel" aria-label="The run"><div class="columns">
    ${errors.length > 0 && html`<div class="column wide"><h3>Errors <span class="n">${count(errors.length)}${errors.length >= 100 ? "+" : ""}</span></h3><${Errors} errors=${errors} choose=${choose} /></div>`}
    ${waiting.length > 0 && html`<div class="column"><h3>Why nodes wait</h3><ul class="waiting">${waiting.map((node) => html`<li key=${node.name} class=${node.is_stuck ? "is-stuck" : ""}>
      <${StateIcon} state=${node.state} size=${13} /><button class="link address" onClick=${() => choose(node.name)}>${node.name}</button><span>${node.why}</span></li>`)}</ul></div>`}
    ${result && html`<div class="column"><h3>Result</h3><${Value} value=${result} /></div>`}
    ${Object.keys(run.params ?? {}).length > 0 && html`<div class="column"><h3>Parameters</h3><dl class="facts">${Object.entries(run.params).map(([name, text]) => html`<div key=${name}><dt><code>${name}</code></dt><dd><code>${text}</code></dd></div>`)}</dl></div>`}
    ${code.length > 0 && html`<div class="column"><h3>Code</h3><dl class="facts even">${code.map(([name, text]) => html`<div key=${name}><dt><code>${name}</code></dt><dd><code title=${text.hash}>${text.hash.slice(0, 14)}</code>${text.python && html` <span class="muted">Python ${text.python}</span>`}</dd></div>`)}</dl></div>`}
    ${!errors.length && !waiting.length && !result && html`<p class="muted">Choose a node to see its items, attempts, values and log.</p>`}
  </div></section>`;
}

// Arrow keys move through the rows that are shown, and open and close boxes.
function keys({ rows, model, selected, open, toggle, choose, filter }) {
  return (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const place = model.place(selected), index = rows.indexOf(place);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity }[event.key];
    if (step !== undefined && rows.length) {
      const next = index < 0 ? (step < 0 || step === Infinity ? rows.length - 1 : 0) : Math.max(0, Math.min(rows.length - 1, index + step));
      choose(rows[next].address);
    } else if (event.key === "ArrowRight" && place?.isBox && !filter) {
      if (open.has(place.address)) choose(place.children[0].address);
      else toggle(place.address);
    } else if (event.key === "ArrowLeft" && place && !filter) {
      if (place.isBox && open.has(place.address)) toggle(place.address);
      else if (place.parent) choose(place.parent.address);
    } else if (event.key === "n" || event.key === "N") {
      const failed = [...model.places.values()].filter((each) => each.own && ["failed", "retrying"].includes(each.own.state));
      if (failed.length) choose(failed[(failed.indexOf(place) + 1) % failed.length].address);
    } else return;
    event.preventDefault();
  };
}

function useFilter(text, states) {
  return useMemo(() => {
    const wanted = text.trim().toLowerCase(), chosen = new Set(states ? states.split(",") : []);
    if (!wanted && !chosen.size) return null;
    return (place) => (!wanted || place.address.toLowerCase().includes(wanted)) && (!chosen.size || (chosen.has(place.status.state) && (place.own || !place.isBox)));
  }, [text, states]);
}

function useOpen(model, selected) {
  const [changed, setChanged] = useState(null);
  const open = useMemo(() => changed ?? model.opened(), [changed, changed ? 0 : model.shape]);
  const toggle = useCallback((box) => setChanged((last) => {
    const next = new Set(last ?? model.opened());
    if (!next.delete(box)) next.add(box);
    return next;
  }), [model]);
  useEffect(() => { // what is chosen is shown
    const closed = [];
    for (let box = model.place(selected)?.parent; box; box = box.parent) if (!open.has(box.address)) closed.push(box.address);
    if (closed.length) setChanged(new Set([...open, ...closed]));
  }, [model, selected]);
  return [open, setChanged, toggle];
}

function Loaded({ id, follower, values }) {
  const { model } = follower, { node: selected = "", filter: text = "", states = "", view = "" } = values;
  const now = useNow(!model.isOver && !isOffline, 0.5), input = useRef(), [marks, setMarks] = useState(new Map());
  const [open, setOpen, toggle] = useOpen(model, selected);
  const filter = useFilter(text, states);
  const rows = useMemo(() => model.rows(open, filter), [model, model.shape, open, filter, states && model.version]);
  const choose = useCallback((node) => chooseInUrl({ node }), []);
  const acted = (action) => (action === "delete" ? (location.hash = "#/") : follower.again());
  const told = useCallback((place, attempts) => setMarks(new Map([[place, attempts.filter((each) => each.state !== "done" && each.started && each.seconds != null).map((each) => each.started + each.seconds)]])), []);
  const pressed = useRef(); // that of the last drawing: keys come faster than effects
  pressed.current = (event) => {
    if (document.querySelector("dialog[open]")) return;
    const isTyping = event.target.closest?.("input, textarea, select");
    if (event.key === "Escape") {
      if (isTyping) (event.target.blur(), text && chooseInUrl({ filter: "" }));
      else choose("");
    } else if (event.key === "/" && !isTyping) (event.preventDefault(), input.current?.focus());
    else if (!isTyping && !event.target.closest?.("pre, .item-rows, button, a, summary")) keys({ rows, model, selected, open, toggle, choose, filter })(event);
  };
  useLayoutEffect(() => {
    const press = (event) => pressed.current(event);
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  useEffect(() => void (document.title = `${word(model.run.state)} · ${model.run.name} · ${id.slice(0, 8)}`), [model.run.state]);
  const shared = { model, open, toggle, selected, choose, filter, now };
  const isThere = model.place(selected) !== null;
  return html`<main class=${`run ${view ? `only-${view}` : ""} ${isThere ? "has-node" : ""}`}>
    <${Head} model=${model} id=${id} follower=${follower} now=${now} choose=${choose} acted=${acted} />
    <p class="said" role="status" aria-live="polite">${`Run ${word(model.run.state)}`}</p>
    <${Filter} model=${model} text=${text} states=${states} view=${view} setValues=${chooseInUrl} input=${input} />
    <div class="split">
      ${view !== "timeline" && html`<${GraphView} ...${shared} setOpen=${setOpen} />`}
      ${view !== "graph" && html`<${Timeline} ...${shared} rows=${rows} id=${id} marks=${marks} />`}
    </div>
    ${isThere ? html`<${NodePanel} key=${nodeOf(selected)} id=${id} model=${model} selected=${selected} choose=${choose} now=${now} acted=${acted} told=${told} />`
      : html`<${Summary} model=${model} choose=${choose} />`}
  </main>`;
}

function RunPage({ id, values }) {
  const follower = useRun(id);
  if (follower?.model) return html`<${Loaded} id=${id} follower=${follower} values=${values} />`;
  if (follower?.error) return html`<main class="page"><p class="refused" role="alert"><b>${follower.error.type}</b> ${follower.error.message}</p></main>`;
  return html`<main class="page is-loading" aria-busy="true"><span class="muted">Looking at the run …</span></main>`;
}

export { RunPage };
