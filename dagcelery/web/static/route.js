// The URL says what is shown: #/, #/dag/NAME, #/run/ID?node=ADDRESS. Whoever gets a link sees the same.
import { useLayoutEffect, useState } from "./vendor/htm-preact-standalone.module.js";

function parsed(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [page = "", ...rest] = path.split("/");
  let name = rest.join("/");
  try {
    name = decodeURIComponent(name);
  } catch {
    // a percent sign that somebody typed
  }
  return { page: page || "runs", name, values: Object.fromEntries(new URLSearchParams(search)) };
}

function address(page, name = "", values = {}) {
  const given = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value != null));
  const search = given.toString();
  const path = page === "runs" ? "#/" : `#/${page}/${encodeURIComponent(name)}`;
  return search ? `${path}?${search}` : path;
}

const PAUSE = 400; // Safari refuses more than 100 changes of the address in 30 s, and arrow keys repeat faster

const listeners = new Set();
let here = location.hash, written = here, timer = 0, last = 0;
const tell = () => listeners.forEach((listener) => listener(parsed(here)));

function moved() {
  clearTimeout(timer);
  here = written = location.hash;
  tell();
}
addEventListener("hashchange", moved);
addEventListener("popstate", moved);

function write() {
  if (location.hash !== written) return; // somebody has followed a link meanwhile
  last = Date.now();
  history.replaceState(null, "", here);
  written = location.hash;
}

// What is chosen on a page replaces its entry in the history: "back" leads to the page before.
function choose(values) {
  const { page, name, values: known } = parsed(here);
  here = address(page, name, { ...known, ...values });
  clearTimeout(timer);
  const wait = last + PAUSE - Date.now();
  if (wait > 0) timer = setTimeout(write, wait);
  else write();
  tell();
}

function useRoute() {
  const [route, setRoute] = useState(parsed(here));
  useLayoutEffect(() => {
    listeners.add(setRoute);
    return () => listeners.delete(setRoute);
  }, []);
  return route;
}

export { address, choose, moved, parsed, useRoute };
