// Follows a run: all of it once, then what changes. A page that has slept asks for all of it again.
import { useEffect, useReducer, useRef, useState } from "./vendor/htm-preact-standalone.module.js";
import { at, get, isOffline, run as pathOf, timed } from "./api.js";
import { RunModel, isAlike } from "./model.js";

const SLEPT = 20_000;
const REFUSED = new Set([400, 401, 403, 404]);

class Follower {
  constructor(id, tell) {
    this.id = id;
    this.tell = tell;
    this.model = null;
    this.state = "loading";
    this.stopped = new AbortController();
    this.pending = 0;
    this.heard = 0; // events of the stream so far
    this.seen = () => this.#seen();
    document.addEventListener("visibilitychange", this.seen);
    this.load();
  }

  async load() {
    const heard = this.heard;
    try {
      const answer = await get(pathOf(this.id), this.stopped.signal);
      // Of states the stream knows best, if it has told some since this was asked for.
      if (this.model) this.model.replace(heard === this.heard ? answer : { ...answer, run: this.model.run, usual: null, nodes: this.model.nodes });
      else this.model = new RunModel(answer);
      this.error = null;
    } catch (error) {
      if (this.stopped.signal.aborted) return;
      this.error = error;
    }
    if (this.stopped.signal.aborted) return;
    const isRefused = REFUSED.has(this.error?.status); // it will not be answered later either
    if (this.model && !this.model.isOver && !isOffline && !isRefused) this.#listen();
    else if (this.state !== "live") this.state = this.error ? "lost" : "over";
    this.#draw();
  }

  stop() {
    this.stopped.abort();
    document.removeEventListener("visibilitychange", this.seen);
    clearTimeout(this.reading);
    cancelAnimationFrame(this.pending);
    this.source?.close();
  }

  // An action has begun the run anew, or ended it.
  again() {
    this.source?.close();
    this.source = null;
    return this.load();
  }

  #listen() {
    if (this.source && this.source.readyState !== EventSource.CLOSED) return;
    const source = (this.source = new EventSource(at(`${pathOf(this.id)}/live?graph=no`)));
    const on = (name, act) => source.addEventListener(name, (event) => {
      if (source !== this.source) return;
      const told = event.data ? JSON.parse(event.data) : {};
      timed(told);
      this.heard += 1;
      act(told);
      this.#draw();
    });
    source.onopen = () => this.#say("live");
    source.onerror = () => {
      this.#say("lost");
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.stopped.signal.aborted || this.again(), 3000);
    };
    on("status", (whole) => {
      const failed = this.#failed(), hasGrown = !whole.graph && !isAlike(whole.nodes, this.model.nodes);
      this.model.replace({ result: this.model.result, ...whole });
      if (hasGrown || this.#failed() !== failed) this.#readLater();
    });
    on("change", (change) => {
      const failed = this.#failed();
      if (this.model.patch(change) || this.#failed() !== failed) this.#readLater();
    });
    on("failure", (error) => {
      source.close();
      this.error = error;
      this.state = "lost";
      this.#readLater(3000); // the store may be back then
    });
    on("end", () => {
      source.close();
      this.state = "over";
      this.#readLater(0);
    });
  }

  #say(state) {
    this.state = state;
    this.#draw();
  }

  #failed() {
    return this.model.nodes.reduce((all, node) => all + node.failed + node.retrying, 0);
  }

  // Errors and the result do not travel with changes.
  #readLater(pause = 1000) {
    clearTimeout(this.reading);
    this.reading = setTimeout(() => this.load(), pause);
  }

  #seen() {
    if (document.hidden) {
      this.hidden = Date.now();
      return;
    }
    // A run that was over may have been resumed meanwhile.
    if (Date.now() - (this.hidden ?? Date.now()) > SLEPT) this.again();
  }

  #draw() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.tell();
    });
  }
}

function useRun(id) {
  const [, draw] = useReducer((turn) => turn + 1, 0);
  const [follower, setFollower] = useState(null);
  const last = useRef(null);
  useEffect(() => {
    const next = (last.current = new Follower(id, () => last.current === next && draw()));
    setFollower(next);
    return () => next.stop();
  }, [id]);
  return follower?.id === id ? follower : null;
}

export { useRun };
