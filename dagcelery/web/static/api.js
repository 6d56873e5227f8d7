// What the server is asked. The page of a finished run in one file carries the answers and asks nobody.
const embedded = document.getElementById("answers");
const answers = embedded ? JSON.parse(embedded.textContent) : null;
const isOffline = answers !== null;

let session = { title: "dagcelery", version: "", actions: [], csrf: "" };
let skew = 0; // what the server's clock is ahead of ours, in seconds

const now = () => Date.now() / 1000 + skew;
const at = (path) => new URL(path, document.baseURI).href;
const encoded = encodeURIComponent;
const query = (values) =>
  new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value != null)).toString();

class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answered ${status}`);
    this.status = status;
    this.type = error?.type ?? "Error";
  }
}

// What the server says comes with its time, against which everything is counted.
function timed(body) {
  if (typeof body?.now === "number") skew = body.now - Date.now() / 1000;
}

async function answer(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    if (response.ok) throw new Refused(response.status, { message: "the server's answer is not JSON" });
  }
  if (!response.ok) throw new Refused(response.status, body?.error);
  timed(body);
  return body;
}

// What a page asks for first is asked for while it is still being made.
const early = new Map();
const ahead = (path) => isOffline || early.set(path, get(path).catch((error) => error));

async function get(path, signal) {
  if (early.has(path)) {
    const found = await early.get(path);
    if (early.delete(path) && !(found instanceof Error)) return found;
  }
  if (isOffline) {
    if (path in answers) {
      timed(answers[path]);
      return answers[path];
    }
    throw new Refused(404, { type: "NotKept", message: "this is not kept in the file" });
  }
  return answer(await fetch(at(path), { headers: { accept: "application/json" }, credentials: "same-origin", signal }));
}

async function post(path, body) {
  const headers = { "content-type": "application/json", "x-csrf-token": session.csrf ?? "" };
  return answer(await fetch(at(path), { method: "POST", headers, credentials: "same-origin", body: JSON.stringify(body ?? {}) }));
}

async function begin() {
  session = { ...session, ...(await get("api/session")) };
  return session;
}

const run = (id) => `api/runs/${encoded(id)}`;
const node = (id, values) => (isOffline ? `node ${values.address}` : `${run(id)}/node?${query(values)}`);
const may = (action) => !isOffline && (session.actions ?? []).includes(action);
// Where else a node is seen: "trace" and "log", where that is configured.
function linked(kind, id, address) {
  return session[`${kind}_link`]?.replaceAll("{run}", encoded(id)).replaceAll("{node}", encoded(address)) ?? null;
}

export { Refused, ahead, at, begin, encoded, get, isOffline, linked, may, node, now, post, query, run, timed };
