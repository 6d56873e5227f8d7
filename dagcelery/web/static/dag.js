// The page of a DAG: its last runs as a strip, what they took, its picture.
import { html, useEffect, useMemo, useState } from "./vendor/htm-preact-standalone.module.js";
import { encoded, get } from "./api.js";
import { StateIcon, count, duration, moment, percent, word } from "./format.js";
import { GraphView } from "./graph.js";
import { useNow, usePolling } from "./hooks.js";
import { RunTable } from "./list.js";
import { RunModel } from "./model.js";
import { address } from "./route.js";

function Strip({ runs, now }) {
  const took = (run) => run.seconds ?? (run.started != null ? now - run.started : 0);
  const most = Math.max(...runs.map(took), 1e-9);
  return html`<ol class="strip" aria-label="The last runs, oldest first">${runs.toReversed().map((run) => {
    const said = `${word(run.state)}, ${duration(took(run)) || "not started"}, ${moment(run.started ?? run.created, now)}`;
    return html`<li key=${run.id}><a href=${address("run", run.id)} title=${said} aria-label=${said}>
      <i class=${`s-${run.state}`} style=${{ height: `${Math.max(6, (100 * took(run)) / most)}%` }} /><${StateIcon} state=${run.state} size=${10} /></a></li>`;
  })}</ol>`;
}

function middle(numbers) {
  const sorted = numbers.filter((each) => each != null).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
}

function Figure({ label, children }) {
  return html`<div class="figure"><span class="muted">${label}</span><b>${children}</b></div>`;
}

function Slowest({ nodes }) {
  const most = Math.max(...nodes.map((node) => node.seconds), 1e-9);
  return html`<ul class="slowest">${nodes.map(({ node, seconds }) => html`<li key=${node}><span class="cut" title=${node}>${node}</span>
    <span class="bar"><i class="fill s-running" style=${{ width: `${(100 * seconds) / most}%` }} /></span><span class="n">${duration(seconds)}</span></li>`)}</ul>`;
}

// The plan alone: nodes without states.
function Picture({ graph }) {
  const model = useMemo(() => new RunModel({ run: { state: "pending" }, nodes: [], graph }), [JSON.stringify(graph)]);
  const [open, setOpen] = useState(() => model.opened());
  const toggle = (box) => setOpen((last) => {
    const next = new Set(last);
    if (!next.delete(box)) next.add(box);
    return next;
  });
  const [selected, choose] = useState("");
  return html`<div class="picture is-plan"><${GraphView} model=${model} open=${open} setOpen=${setOpen} toggle=${toggle} selected=${selected} choose=${choose} filter=${null} now=${0} isPlan=${true} /></div>`;
}

function DagPage({ name }) {
  const [found, setFound] = useState(null), [error, setError] = useState(null);
  const now = useNow(true);
  usePolling(async (signal) => {
    try {
      setFound(await get(`api/dags/${encoded(name)}`, signal));
      setError(null);
    } catch (refused) {
      if (!signal.aborted) setError(refused);
    }
  }, 5, [name]);
  useEffect(() => void (document.title = name), [name]);
  if (error && !found) return html`<main class="page"><p class="refused" role="alert"><b>${error.type}</b> ${error.message}</p></main>`;
  if (!found) return html`<main class="page is-loading" aria-busy="true"><span class="muted">Looking for its runs …</span></main>`;
  const { runs, success, slowest, schedule, graph } = found;
  return html`<main class="page dag">
    <header class="dag-head"><h1>${name}</h1>
      ${schedule?.length > 0 && html`<ul class="schedule">${schedule.map((each) => html`<li key=${JSON.stringify(each)} class="badge">${typeof each === "string" ? each : each.text ?? JSON.stringify(each)}</li>`)}</ul>`}
      <span class="grow" /><a class="button quiet" href=${address("runs", "", { dag: name })}>All its runs</a></header>
    <section class="figures" aria-label="Figures">
      <${Figure} label="Succeeded">${success.over ? percent(success.done, success.over) : "–"} <small class="muted">${success.over ? `${count(success.done)} of ${count(success.over)}` : ""}</small><//>
      <${Figure} label="Median duration">${duration(middle(runs.map((run) => run.seconds))) || "–"}<//>
      <${Figure} label="Running">${count(runs.filter((run) => run.state === "running").length)}<//>
      <${Figure} label="Last run">${runs.length ? html`<span class="with-icon"><${StateIcon} state=${runs[0].state} size=${16} /> ${word(runs[0].state)}</span>` : "never"}<//>
    </section>
    ${runs.length > 0 && html`<section class="card"><h2>Last ${count(runs.length)} runs</h2><${Strip} runs=${runs} now=${now} /></section>`}
    <div class="two">
      ${graph && html`<section class="card"><h2>Graph</h2><${Picture} graph=${graph} /></section>`}
      ${slowest.length > 0 && html`<section class="card"><h2>Slowest nodes</h2><${Slowest} nodes=${slowest} /></section>`}
    </div>
    ${runs.length > 0 && html`<section class="card"><h2>Runs</h2><${RunTable} runs=${runs} isOneDag=${true} /></section>`}
  </main>`;
}

export { DagPage };
