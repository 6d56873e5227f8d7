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

const listeners = new Set();
const tell = () => listeners.forEach((listener) => listener(parsed(location.hash)));
addEventListener("hashchange", tell);
addEventListener("popstate", tell);

// What is chosen on a page replaces its entry in the history: "back" leads to the page before.
function choose(values) {
  const here = parsed(location.hash);
  history.replaceState(null, "", address(here.page, here.name, { ...here.values, ...values }));
  tell();
}

function useRoute() {
  const [route, setRoute] = useState(parsed(location.hash));
  useLayoutEffect(() => {
    listeners.add(setRoute);
    return () => listeners.delete(setRoute);
  }, []);
  return route;
}

export { address, choose, parsed, useRoute };
