// What several parts of the page do: look at the clock, draw only the rows that are seen, follow a size.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { now } from "./api.js";

function useNow(isLive, seconds = 1) {
  const [time, setTime] = useState(now());
  useEffect(() => {
    if (!isLive) return undefined;
    const timer = setInterval(() => document.hidden || setTime(now()), 1000 * seconds);
    return () => clearInterval(timer);
  }, [isLive, seconds]);
  return isLive ? Math.max(time, now()) : time;
}

function useSize(ref) {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const element = ref.current;
    const look = () => setSize({ width: element.clientWidth, height: element.clientHeight });
    const observer = new ResizeObserver(look);
    observer.observe(element);
    look();
    return () => observer.disconnect();
  }, []);
  return size;
}

// Calls `load(signal)` again and again, a pause after each answer, while somebody looks.
function usePolling(load, seconds, keys) {
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0, isBusy = false;
    const turn = async () => {
      clearTimeout(timer);
      if (isBusy) return;
      isBusy = true;
      if (!document.hidden) await load(stop.signal);
      isBusy = false;
      if (!stop.signal.aborted && seconds) timer = setTimeout(turn, 1000 * seconds);
    };
    const seen = () => document.hidden || turn();
    document.addEventListener("visibilitychange", seen);
    turn();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, keys);
}

// Asks at once for what `place` names, and again when `key` has changed, but not more often than each second: neither
// do changes that keep coming put it off, nor does an answer count that comes when another place is asked for.
function useOften(ask, place, key, told, failed) {
  const last = useRef({});
  useEffect(() => {
    const name = place.join("\n"), isNew = last.current.name !== name;
    if (isNew) last.current = { name, at: 0 };
    const here = last.current, timer = setTimeout(() => {
      here.at = Date.now();
      ask().then((answer) => here === last.current && told(answer), (error) => here === last.current && failed(error));
    }, Math.max(0, here.at + 1000 - Date.now()));
    return () => clearTimeout(timer);
  }, [...place, key]);
  useEffect(() => () => void (last.current = {}), []);
}

// Rows of one height in a box that scrolls: only those that are seen, and a few more, are in the document.
function Rows({ count, height, row, label, role = "list", active = -1, children, ...others }) {
  const box = useRef(), size = useSize(box);
  const [top, setTop] = useState(0);
  const head = children ? height : 0;
  const first = Math.max(0, Math.floor(top / height) - 8);
  const last = Math.min(count, Math.ceil((top + (size.height || 400)) / height) + 8);
  useLayoutEffect(() => {
    const element = box.current;
    if (active < 0 || !element.clientHeight) return;
    const from = active * height, to = from + height, seen = element.clientHeight - head;
    if (from < element.scrollTop) element.scrollTop = from;
    else if (to > element.scrollTop + seen) element.scrollTop = to - seen;
  }, [active, size.height > 0]);
  const shown = [];
  for (let index = first; index < last; index++) shown.push(row(index, { top: `${index * height}px`, height: `${height}px` }));
  return html`<div ref=${box} role=${role} aria-label=${label} tabindex="0" ...${others}
      class=${`rows ${others.class ?? ""}`} onScroll=${(event) => setTop(event.currentTarget.scrollTop)}>
    ${children}
    <div class="rows-all" role="presentation" style=${{ height: `${count * height}px` }}>${shown}</div>
  </div>`;
}

export { Rows, useNow, useOften, usePolling, useSize };
