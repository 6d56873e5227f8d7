// What is known of one node, or of one of its items.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { Action } from "./actions.js";
import { get, isOffline, linked, node as pathOf } from "./api.js";
import { NODE_STATES, StateBar, StateIcon, Time, clock, count, duration, moment, percent, word } from "./format.js";
import { Rows, useOften } from "./hooks.js";
import { Copy, Errors, Value } from "./values.js";

const PAGE = 100;

// One answer of the server about a node, asked for again when its numbers have changed.
function useDetails(id, address, state, key) {
  const [found, setFound] = useState({});
  const isSame = found.address === address && found.filter === state;
  useOften(async () => (address ? get(pathOf(id, { address, state, from: 0, limit: PAGE })) : null), [id, address, state], key,
    (answer) => setFound({ address, filter: state, answer }),
    (error) => setFound((last) => ({ answer: last.address === address ? last.answer : null, address, filter: state, error })));
  return isSame ? found : { answer: found.address === address ? found.answer : null };
}

// Of an item that failed its last attempt tells when that was, and where.
function lastOf(answer) {
  const last = answer?.attempts?.at(-1);
  if (!last || answer.items?.length) return answer?.node ?? {};
  return { ...answer.node, ...last, ended: last.started != null && last.seconds != null ? last.started + last.seconds : null };
}

function Facts({ place, status, answer, now, model }) {
  const node = answer?.node.started == null ? lastOf(answer) : answer.node;
  const isItem = answer && place.address !== answer.node.name;
  const { started, ended } = isItem ? node : { started: node.started ?? status.started, ended: node.ended ?? status.ended };
  const state = isItem ? answer.node.state : status.state;
  const took = isItem ? (ended != null && started != null ? ended - started : null) : status.seconds;
  const ready = isItem ? null : model.ready(place);
  const waited = ready != null && started != null ? Math.max(0, started - ready) : null;
  const running = started != null && ended == null && state === "running" ? now - started : null;
  const facts = [
    ["State", html`<span class="with-icon"><${StateIcon} state=${state} size=${14} /> ${word(state)}</span>`],
    status.why && !isItem && [state === "failed" || state === "stopped" ? "Beside that" : "Why it waits", html`<span class="why">${status.why}</span>`],
    ["Started", started != null && html`<${Time} at=${started}>${moment(started, now)}<//>`],
    ["Took", took != null ? duration(took) : running != null && html`${duration(running)} <span class="muted">so far</span>`],
    ["Waited", waited != null && waited > 0.0005 && duration(waited)],
    status.due != null && ["Tried again", html`<${Time} at=${status.due}>${status.due > now ? `in ${duration(status.due - now)}` : "now"}<//>`],
    ["Attempt", node.attempt > 0 && count(node.attempt)],
    ["Worker", node.worker && html`<code>${node.worker}</code>`],
    ["Queue", (status.queue || place.queue) && html`<code>${status.queue || place.queue}</code>`],
    ["Taints", place.taints?.length > 0 && place.taints.map((taint) => html`<code key=${taint}>${taint}</code> `)],
    ["From cache", status.cached > 0 && count(status.cached)],
  ].filter((fact) => fact && fact[1]);
  return html`<dl class="facts">${facts.map(([name, text]) => html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>`;
}

// Items as rows that ask for themselves when they are seen: any page of all, or of those in a state one after the other.
function useItems(id, address, answer, filter) {
  const [, setTurn] = useState(0), kept = useRef(null);
  if (kept.current?.answer !== answer) {
    kept.current = { answer, pages: new Map([[0, answer.items]]), found: [...answer.items], next: answer.next, isBusy: false };
  }
  const ask = async (from, keep) => {
    const here = kept.current;
    const page = await get(pathOf(id, { address, state: filter, from, limit: PAGE }));
    if (here === kept.current) (keep(page), setTurn((turn) => turn + 1));
  };
  return (index) => {
    const here = kept.current;
    if (filter || isOffline) {
      if (index >= here.found.length && here.next != null && !here.isBusy && !isOffline) {
        here.isBusy = true;
        ask(here.next, (page) => Object.assign(here, { found: [...here.found, ...page.items], next: page.next, isBusy: false })).catch(() => null);
      }
      return here.found[index];
    }
    const at = Math.floor(index / PAGE), page = here.pages.get(at);
    if (!page) {
      here.pages.set(at, []);
      ask(at * PAGE, (found) => here.pages.set(at, found.items)).catch(() => here.pages.delete(at));
    }
    return page?.[index - at * PAGE];
  };
}

function Items({ id, address, answer, filter, setFilter, choose, selected }) {
  const states = answer.states ?? {}, all = Object.values(states).reduce((sum, each) => sum + each, 0);
  const item = useItems(id, address, answer, filter), kept = answer.items.length;
  const total = filter ? states[filter] ?? kept : answer.total ?? kept;
  const chip = (state, number) => html`<button key=${state} class="chip" aria-pressed=${filter === state} onClick=${() => setFilter(state)}>
    ${state && html`<${StateIcon} state=${state} size=${12} />`} ${state ? word(state) : "all"} <span class="n">${count(number)}</span></button>`;
  const row = (index, style) => {
    const found = item(index);
    if (!found) return html`<div key=${index} class="item is-empty" style=${style} role="listitem"><span class="muted">…</span></div>`;
    const place = found.address ?? `${address}[${found.index}]`;
    return html`<div key=${index} class=${`item ${selected === place ? "is-selected" : ""}`} style=${style} role="listitem" onClick=${() => choose(place)}>
      <${StateIcon} state=${found.state} size=${13} />
      <button class="link index">${found.address ? found.address : `[${count(found.index)}]`}</button>
      <span class="took">${duration(found.seconds)}</span>
      <span class="muted attempt">${found.attempt > 1 ? `attempt ${found.attempt}` : ""}</span>
      <span class="muted worker">${found.worker}</span></div>`;
  };
  return html`<section class="items"><h3>Items <span class="n">${count(all || total)}</span></h3>
    <div class="chips" role="group" aria-label="Items in a state">${chip("", all)}${NODE_STATES.filter((state) => states[state]).map((state) => chip(state, states[state]))}</div>
    <${Rows} count=${isOffline ? Math.min(total, answer.items.length) : total} height=${26} label=${`Items of ${address}`} row=${row} class="item-rows" style=${{ height: `${Math.min(9, Math.max(1, total)) * 26 + 2}px` }} />
    ${isOffline && total > answer.items.length && html`<p class="muted">${count(total - answer.items.length)} more are not kept in this file.</p>`}
  </section>`;
}

const reason = (error) => (error ? [error.type_name, error.message].filter(Boolean).join(": ") : "");

function Attempts({ attempts }) {
  return html`<section><h3>Attempts</h3><table class="attempts"><tbody>${attempts.map((attempt) => html`<tr key=${`${attempt.address} ${attempt.attempt} ${attempt.started}`} title=${reason(attempt.error)}>
    <td><span class="with-icon"><${StateIcon} state=${attempt.state} size=${13} /> ${attempt.attempt}</span></td>
    <td><${Time} at=${attempt.started}>${moment(attempt.started)}<//></td><td class="n">${duration(attempt.seconds)}</td>
    <td class="muted cut" title=${attempt.worker}>${attempt.worker}</td></tr>`)}</tbody></table></section>`;
}

function Values({ answer }) {
  const { inputs = [], result } = answer;
  return html`<section class="values">${inputs.length > 0 && html`<h3>Inputs</h3><dl class="facts">${inputs.map(({ name, value }) => html`<div key=${name}><dt><code>${name}</code></dt><dd><${Value} value=${value} /></dd></div>`)}</dl>`}
    ${result && html`<h3>Result</h3><${Value} value=${result} />`}</section>`;
}

const STAMPED = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z) (.*)$/s;

// A line begins with its time, by the worker's clock; those without one belong to the line before.
function Line({ line }) {
  const [, at, fraction = "", text] = STAMPED.exec(line) ?? [];
  return html`<div class="logged">${at ? html`<span class="muted" title=${at}>${clock(Date.parse(at) / 1000, 3)}${fraction}</span> ${text}` : line}</div>`;
}

function Log({ lines }) {
  const box = useRef();
  useEffect(() => void (box.current.scrollTop = box.current.scrollHeight), [lines]);
  return html`<section class="log"><h3>Log</h3><pre ref=${box} tabindex="0">${lines.map((line, index) => html`<${Line} key=${index} line=${line} />`)}</pre></section>`;
}

function NodePanel({ id, model, selected, choose, now, acted, told }) {
  const [filter, setFilter] = useState("");
  const place = model.place(selected), status = place.status, isItem = selected !== place.address;
  const key = [status.state, status.done, status.failed, status.retrying, status.running, status.skipped].join();
  useEffect(() => setFilter(""), [selected]);
  const { answer, error } = useDetails(id, place.own ? selected : null, filter, key);
  useEffect(() => told(place.address, answer?.attempts ?? []), [answer]);
  const within = model.errors.filter((each) => (isItem ? each.address === selected || each.address.startsWith(`${selected}/`) : model.place(each.address) === place || model.place(each.address)?.address.startsWith(`${place.address}/`)));
  const many = !selected.endsWith("]") && (answer?.items?.length > 0 || Object.keys(answer?.states ?? {}).length > 0);
  const links = [["Trace", linked("trace", id, selected)], ["Log", linked("log", id, selected)]].filter(([, to]) => to);
  const attempts = answer?.attempts ?? [], around = selected.includes("[*]/") ? selected.slice(0, selected.indexOf("[*]/")) : null;
  return html`<section class="panel node-panel" aria-label=${`Node ${selected}`}>
    <header>
      <${StateIcon} state=${answer && isItem ? answer.node.state : status.state} size=${16} />
      <h2><code>${selected}</code></h2><${Copy} text=${selected} label="Copy the address" />
      <span class="badge">${isItem ? "item" : place.kind}</span>
      ${isItem && html`<button class="link" onClick=${() => choose(place.address)}>all of ${place.address}</button>`}
      <span class="grow" />
      ${links.map(([name, to]) => html`<a key=${name} class="button" href=${to} target="_blank" rel="noreferrer">${name}</a>`)}
      ${place.own && html`<${Action} id=${id} action="retry" state=${model.run.state} address=${selected} done=${acted} />`}
      <button class="close" aria-label="Close" title="Close (Esc)" onClick=${() => choose("")}>✕</button>
    </header>
    <div class="columns">
      <div class="column narrow">
        <${Facts} place=${place} status=${status} answer=${answer} now=${now} model=${model} />
        ${place.isMapped && !isItem && html`<div class="shares"><${StateBar} node=${status} /><span class="muted">${percent(status.done + status.skipped, status.total)}</span></div>`}
        ${around && html`<p class="muted">One for each item of <button class="link address" onClick=${() => choose(around)}>${around}</button>: choose an item there.</p>`}
        ${status.pieces?.length > 0 && html`<h3>Running now</h3><ul class="pieces">${status.pieces.map((piece) => html`<li key=${`${piece.address} ${piece.started}`}>
          <button class="link" onClick=${() => choose(piece.address)}>${piece.address}</button> <span class="muted">${duration(now - piece.started)} on ${piece.worker}</span></li>`)}</ul>`}
      </div>
      ${within.length > 0 && html`<div class="column wide"><h3>Errors</h3><${Errors} errors=${within} choose=${choose} selected=${selected} /></div>`}
      ${many && html`<div class="column"><${Items} id=${id} address=${selected} answer=${answer} filter=${filter} setFilter=${setFilter} choose=${choose} selected=${selected} /></div>`}
      ${answer && (answer.inputs?.length > 0 || answer.result) && html`<div class="column"><${Values} answer=${answer} /></div>`}
      ${(attempts.length > 1 || answer?.log?.length > 0) && html`<div class="column">
        ${attempts.length > 1 && html`<${Attempts} attempts=${attempts} />`}${answer.log?.length > 0 && html`<${Log} lines=${answer.log} />`}</div>`}
      ${error && html`<p class=${isOffline ? "muted" : "refused"}>${error.message}</p>`}
    </div>
  </section>`;
}

export { NodePanel };
