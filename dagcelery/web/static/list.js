// The list of runs, newest first, and what is asked of it.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { get, query } from "./api.js";
import { RUN_STATES, StateIcon, Time, ago, count, duration, moment, parameters, percent, word } from "./format.js";
import { useNow, usePolling } from "./hooks.js";
import { address, choose } from "./route.js";

const PAGE = 50;

// Pages that were asked for are kept; the first is looked at again and again, and what is new stands above.
function useRuns(filter) {
  const [found, setFound] = useState({ runs: null, more: false, error: null });
  const key = query(filter), isBusy = useRef(false);
  usePolling(async (signal) => {
    try {
      const answer = await get(`api/runs?${query({ ...filter, limit: PAGE })}`, signal);
      setFound((last) => {
        if (last.key !== key || !last.runs) return { ...answer, key };
        const fresh = new Set(answer.runs.map((run) => run.id)), oldest = answer.runs.at(-1)?.created ?? Infinity;
        const older = answer.more ? last.runs.filter((run) => !fresh.has(run.id) && run.created <= oldest) : [];
        return { ...answer, runs: [...answer.runs, ...older], ...(older.length ? { more: last.more, before: last.before } : {}), key };
      });
    } catch (error) {
      if (!signal.aborted) setFound((last) => ({ ...last, error }));
    }
  }, 3, [key]);
  const more = async () => {
    if (isBusy.current) return;
    isBusy.current = true;
    try {
      const answer = await get(`api/runs?${query({ ...filter, before: found.before, limit: PAGE })}`);
      setFound((last) => {
        const known = new Set(last.runs.map((run) => run.id));
        return { ...last, runs: [...last.runs, ...answer.runs.filter((run) => !known.has(run.id))], more: answer.more, before: answer.before };
      });
    } finally {
      isBusy.current = false;
    }
  };
  return { ...found, runs: found.key === key ? found.runs : null, moreRuns: more };
}

function Progress({ run }) {
  const { progress, state } = run;
  if (!progress?.total) return html`<span class="muted">${word(state)}</span>`;
  const { done, total } = progress;
  return html`<span class="progress" title=${`${count(done)} of ${count(total)}`}><span class=${`bar s-${state}`}><i class=${`fill s-${state === "done" ? "done" : state === "running" ? "running" : state}`} style=${{ width: `${(100 * done) / total}%` }} /></span>
    <span class="n">${percent(done, total)}</span></span>`;
}

function RunRow({ run, now, isOneDag }) {
  const link = address("run", run.id), params = parameters(run.params);
  const took = run.seconds ?? (run.started != null && run.ended == null ? now - run.started : null);
  return html`<tr class=${`s-${run.state}`}>
    <td class="state"><a href=${link} aria-label=${`${word(run.state)} run ${run.id}`} title=${word(run.state)}><${StateIcon} state=${run.state} /></a></td>
    <td class="dag"><a href=${link}><b>${isOneDag ? run.id.slice(0, 12) : run.name}</b></a>${params && html`<code class="args" title=${params}>${params}</code>`}</td>
    <td class="key cut" title=${run.key ?? ""}>${run.key != null && html`<code>${run.key}</code>`}</td>
    <td class="when"><${Time} at=${run.started ?? run.created}>${ago(run.started ?? run.created, now)}<//></td>
    <td class="n">${duration(took)}</td>
    <td class="done"><${Progress} run=${run} /></td>
    <td class="news cut" title=${run.news}>${run.news}</td>
  </tr>`;
}

function RunTable({ runs, isOneDag }) {
  const now = useNow(true);
  return html`<table class="runs"><thead><tr><th><span class="said">State</span></th><th>${isOneDag ? "Run" : "DAG"}</th><th>Key</th><th>Started</th><th class="n">Took</th><th>Progress</th><th>What there is to say</th></tr></thead>
    <tbody>${runs.map((run) => html`<${RunRow} key=${run.id} run=${run} now=${now} isOneDag=${isOneDag} />`)}</tbody></table>`;
}

function Typed({ name, value, placeholder, label, input }) {
  const [text, setText] = useState(value), timer = useRef();
  useEffect(() => setText(value), [value]);
  const typed = (event) => {
    const next = event.currentTarget.value;
    setText(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => choose({ [name]: next }), 250);
  };
  return html`<input ref=${input} type="search" class=${`of-${name}`} placeholder=${placeholder} aria-label=${label} value=${text} onInput=${typed} />`;
}

function ListPage({ values, title }) {
  const { text = "", dag = "", state = "", key = "" } = values, first = useRef();
  const { runs, more, moreRuns, error } = useRuns({ text, dag, state, key });
  useLayoutEffect(() => {
    document.title = title;
    const press = (event) => {
      if (event.key === "/" && !event.target.closest("input")) (event.preventDefault(), first.current.focus());
      if (event.key === "Escape" && event.target.closest("input")) event.target.blur();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  return html`<main class="page">
    <div class="filter">
      <${Typed} name="text" value=${text} placeholder="Search runs  /" label="Search runs" input=${first} />
      <${Typed} name="dag" value=${dag} placeholder="DAG" label="Name of a DAG" />
      <${Typed} name="key" value=${key} placeholder="Key" label="Key of a run" />
      <div class="chips" role="group" aria-label="Runs in a state">${["", ...RUN_STATES].map((each) => html`<button key=${each} class="chip" aria-pressed=${state === each} onClick=${() => choose({ state: each })}>
        ${each && html`<${StateIcon} state=${each} size=${12} />`} ${each ? word(each) : "all"}</button>`)}</div>
    </div>
    ${dag && html`<p class="of-one"><a class="button" href=${address("dag", dag)}>The page of ${dag}</a></p>`}
    ${error && html`<p class="refused" role="alert"><b>${error.type}</b> ${error.message}</p>`}
    ${runs && runs.length > 0 && html`<${RunTable} runs=${runs} />`}
    ${runs && !runs.length && !error && html`<p class="empty">${text || dag || state || key ? "No run is like this." : "Nothing has run yet. Submit a DAG, and it will appear here."}</p>`}
    ${!runs && !error && html`<p class="empty" aria-busy="true">Looking for runs …</p>`}
    ${more && html`<p class="more"><button class="button" onClick=${moreRuns}>Older runs</button></p>`}
  </main>`;
}

export { ListPage, RunTable };
