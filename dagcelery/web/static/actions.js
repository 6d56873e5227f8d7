// What changes a run. Each action says first what will be executed again, and is done after a second click.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { may, post, run as pathOf } from "./api.js";
import { OVER } from "./format.js";

const TEXTS = {
  cancel: { button: "Cancel", title: "Cancel this run?", does: "Cancel the run", isHarsh: true },
  resume: { button: "Resume", title: "Resume this run?", does: "Resume" },
  retry: { button: "Retry from here", title: "Execute again from here?", does: "Execute again" },
  delete: { button: "Delete", title: "Delete this run?", does: "Delete for good", isHarsh: true },
};

const FITS = {
  cancel: (state) => !OVER.has(state),
  resume: (state) => OVER.has(state) && state !== "done",
  retry: (state) => OVER.has(state),
  delete: (state) => OVER.has(state),
};

const isOffered = (action, state) => may(action) && FITS[action](state);

function Dialog({ id, action, address, close, done }) {
  const dialog = useRef(), texts = TEXTS[action];
  const [will, setWill] = useState(null), [error, setError] = useState(null), [isBusy, setBusy] = useState(false);
  const path = `${pathOf(id)}/${action}`, body = address ? { address } : {};
  useEffect(() => {
    dialog.current.showModal();
    post(`${path}?preview=1`, body).then((answer) => setWill(answer.will), setError);
  }, []);
  const act = async (allowed) => {
    setBusy(true);
    setError(null);
    try {
      await post(path, { ...body, ...allowed });
      done(action);
      close();
    } catch (refused) {
      setError(refused);
      setBusy(false);
    }
  };
  return html`<dialog ref=${dialog} aria-labelledby="dialog-title" onClose=${close} onClick=${(event) => event.target === dialog.current && close()}>
    <div class="dialog">
      <h2 id="dialog-title">${texts.title}</h2>
      ${address && html`<p><code>${address}</code></p>`}
      <p class="will" aria-live="polite">${will ?? (error ? "" : "Looking what this will do …")}</p>
      ${error && html`<p class="refused" role="alert"><b>${error.type}</b> ${error.message}</p>`}
      <div class="choices">
        <button class="button" onClick=${close}>Leave it</button>
        ${error?.type.startsWith("Code") && html`<button class="button" disabled=${isBusy} onClick=${() => act({ allow_code_change: true })}>With the code of now</button>`}
        <button class=${`button ${texts.isHarsh ? "harsh" : "primary"}`} disabled=${isBusy || will === null} onClick=${() => act({})}>${texts.does}</button>
      </div>
    </div>
  </dialog>`;
}

function Action({ id, action, state, address, done, label }) {
  const [isAsking, setAsking] = useState(false);
  if (!isAsking && !isOffered(action, state)) return null;
  const isMain = action === "resume" || action === "retry";
  return html`<span class="action">
    <button class=${`button ${isMain ? "primary" : ""}`} onClick=${() => setAsking(true)}>${label ?? TEXTS[action].button}</button>
    ${isAsking && html`<${Dialog} id=${id} action=${action} address=${address} done=${done} close=${() => setAsking(false)} />`}
  </span>`;
}

export { Action };
