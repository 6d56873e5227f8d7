// The page begins here: who may do what is asked once, then the URL decides what is shown.
import { html, render, useEffect, useState } from "./vendor/htm-preact-standalone.module.js";
import { begin, isOffline } from "./api.js";
import { DagPage } from "./dag.js";
import { ListPage } from "./list.js";
import { moved, useRoute } from "./route.js";
import { RunPage } from "./run.js";

function Bar({ session, route }) {
  const crumb = route.page === "runs" ? null : route.page === "run" ? route.name.slice(0, 8) : route.name;
  return html`<nav class="top" aria-label="Where you are">
    <a class="brand" href=${isOffline ? undefined : "#/"}><svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true"><path d="M5 5l10 5M5 15l10-5M5 5v10" /><circle cx="5" cy="5" r="2.6" /><circle cx="5" cy="15" r="2.6" /><circle cx="15" cy="10" r="2.6" /></svg>${session.title}</a>
    ${crumb && !isOffline && html`<span class="sep" aria-hidden="true">/</span><a href="#/">Runs</a><span class="sep" aria-hidden="true">/</span><span class="cut">${crumb}</span>`}
    <span class="grow" />
    ${isOffline && html`<span class="muted">saved page</span>`}
    ${!isOffline && session.actions?.length === 0 && html`<span class="badge" title="This page was opened without actions">read only</span>`}
    <span class="muted version">${session.version}</span>
  </nav>`;
}

function App({ session }) {
  const route = useRoute();
  const page = isOffline ? "run" : route.page, name = isOffline ? session.run : route.name;
  useEffect(() => scrollTo(0, 0), [page, name]);
  return html`<div class=${`shell of-${page}`}>
    <${Bar} session=${session} route=${route} />
    ${page === "run" ? html`<${RunPage} key=${name} id=${name} values=${route.values} />`
      : page === "dag" ? html`<${DagPage} key=${name} name=${name} />`
      : html`<${ListPage} values=${route.values} title=${session.title} />`}
  </div>`;
}

function Refusal({ error }) {
  return html`<main class="page"><p class="refused" role="alert"><b>${error.type}</b> ${error.message}</p></main>`;
}

const root = document.getElementById("app");
root.replaceChildren();

// Whoever has no session shows the token, which stands in the address of the first visit and nowhere else.
async function opened() {
  try {
    const session = await begin();
    if (/^#\/?token=/.test(location.hash)) history.replaceState(null, "", "#/");
    return session;
  } catch (error) {
    if (error.status !== 401) throw error;
  }
  const { login } = await import("./login.js");
  await login(root);
  return begin();
}

opened().then(
  (session) => {
    moved(); // the token has left the address
    render(html`<${App} session=${session} />`, root);
  },
  (error) => render(html`<${Refusal} error=${error} />`, root),
);
