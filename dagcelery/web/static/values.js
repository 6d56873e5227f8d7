// Values, errors and texts that came from users: shown as text, never as anything else.
import { html, useState } from "./vendor/htm-preact-standalone.module.js";
import { bytes, count, plural } from "./format.js";
import { nodeOf } from "./model.js";

const SHORT = 48;

function pretty(text) {
  try {
    const laid = JSON.stringify(JSON.parse(text), null, 2);
    return laid.length > 4000 ? text : laid;
  } catch {
    return text; // shortened by the server, or a number that JavaScript would change
  }
}

// JSON.parse would change large numbers: those texts are shown as they came.
const isExact = (text) => !/\d{16}/.test(text);

function Value({ value }) {
  if (value == null) return html`<span class="muted">none yet</span>`;
  if (value.kind === "none") return html`<span class="muted">${value.text}</span>`;
  if (value.kind === "hidden") return html`<span class="muted">hidden: it is sensitive</span>`;
  if (value.kind === "large") return html`<span class="muted">${bytes(value.size)} of JSON, too large to be shown</span>`;
  if (value.kind !== "json") {
    const what = [value.type, value.size != null && bytes(value.size)].filter(Boolean).join(" · ");
    return html`<p class="opaque"><b>${value.kind}</b> ${what} <span class="muted">is not decoded here</span></p>`;
  }
  if (value.text.length <= SHORT && !value.text.includes("\n")) return html`<code class="short">${value.text}</code>`;
  const isShort = value.size != null && value.size > value.text.length + 2;
  return html`<pre class="value" tabindex="0">${isExact(value.text) ? pretty(value.text) : value.text}</pre>
    ${isShort && html`<p class="muted">the first ${plural(value.text.length, "character")} of ${bytes(value.size)}</p>`}`;
}

function Copy({ text, label = "Copy" }) {
  const [isDone, setDone] = useState(false);
  const copy = async (event) => {
    event.stopPropagation();
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 1200);
    } catch {
      // without HTTPS a browser refuses; the text can still be marked
    }
  };
  return html`<button class="copy" title=${label} aria-label=${label} onClick=${copy}>
    <svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">${isDone
      ? html`<path d="M3.5 8.5l3 3 6-7" />` : html`<path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z" />`}</svg></button>`;
}

// The same error of many items once.
function grouped(errors) {
  const groups = new Map();
  for (const error of errors) {
    const key = JSON.stringify([nodeOf(error.address), error.type_name, error.message]);
    const group = groups.get(key);
    if (group) group.errors.push(error);
    else groups.set(key, { key, errors: [error], node: nodeOf(error.address) });
  }
  return [...groups.values()].map((group) => ({ ...group, stands: group.errors.some((error) => error.stands) }))
    .sort((a, b) => b.stands - a.stands);
}

function Errors({ errors, choose, isOpen = 1, selected }) {
  return html`<ul class="errors">${grouped(errors).map(({ key, errors: same, stands }, index) => {
    const error = same.find((each) => each.stands) ?? same.at(-1), others = same.length - 1;
    return html`<li key=${key} class=${stands ? "stands" : ""}>
      <div class="headline">
        <button class="link address" aria-current=${selected === error.address} onClick=${() => choose(error.address)}>${error.address}</button>
        <span class="muted">attempt ${error.attempt}${stands ? "" : ", tried again"}${others ? `, and ${count(others)} more like this` : ""}</span>
        <${Copy} text=${`${error.address}\n${error.traceback || `${error.type_name}: ${error.message}`}`} label="Copy the error" />
      </div>
      <p class="message"><b>${error.type_name}</b>${error.message ? `: ${error.message}` : ""}</p>
      ${error.traceback && html`<details open=${index < isOpen}><summary>Traceback</summary><pre class="traceback" tabindex="0">${error.traceback}</pre></details>`}
    </li>`;
  })}</ul>`;
}

export { Copy, Errors, Value };
