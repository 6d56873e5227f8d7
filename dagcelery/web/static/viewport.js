// Moving and zooming a picture: wheel and pinch zoom, dragging moves, and it fits at first.
import { useCallback, useEffect, useRef, useState } from "./vendor/htm-preact-standalone.module.js";

const LEAST = 0.02, MOST = 2.5, CROWD = 400;

function fitted(picture, pane) {
  const k = Math.max(LEAST, Math.min(1, (pane.width - 40) / Math.max(1, picture.w), (pane.height - 40) / Math.max(1, picture.h)));
  return { k, x: (pane.width - picture.w * k) / 2, y: (pane.height - picture.h * k) / 2 };
}

// All of it where that can be read; else readable, with what matters in view. A crowd of nodes is a map at first.
function first(picture, pane, focus, readable) {
  const whole = fitted(picture, pane);
  if (whole.k >= readable || picture.nodes.length > CROWD) return whole;
  const centred = (from, size, length, all) => (all * readable + 40 <= length ? (length - all * readable) / 2
    : Math.min(20, Math.max(length - all * readable - 20, length / 2 - (from + size / 2) * readable)));
  const { x, y, w, h } = focus ?? { x: 0, y: 0, w: 0, h: 0 };
  return { k: readable, x: centred(x, w, pane.width, picture.w), y: centred(y, h, pane.height, picture.h) };
}

function zoomed(view, factor, x, y) {
  const k = Math.max(LEAST, Math.min(MOST, view.k * factor));
  return { k, x: x - ((x - view.x) * k) / view.k, y: y - ((y - view.y) * k) / view.k };
}

// Moves as little as needed to show a rectangle.
function shown(view, { x, y, w, h }, pane) {
  const near = (from, size, length) => {
    if (from >= 12 && from + size <= length - 12) return 0;
    return length / 2 - (from + size / 2);
  };
  const dx = near(view.x + x * view.k, w * view.k, pane.width), dy = near(view.y + y * view.k, h * view.k, pane.height);
  return dx || dy ? { ...view, x: view.x + dx, y: view.y + dy } : view;
}

function useViewport(ref, picture, pane, focus, readable) {
  const [view, setView] = useState(null);
  const drag = useRef(null), touched = useRef(false);
  useEffect(() => {
    if (picture && pane.width && (!touched.current || !view)) setView(first(picture, pane, focus, readable));
  }, [picture, pane.width, pane.height]);

  useEffect(() => {
    const element = ref.current;
    const wheel = (event) => {
      const isStacked = matchMedia("(max-width: 900px)").matches;
      if (isStacked && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      touched.current = true;
      const box = element.getBoundingClientRect();
      const factor = Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : event.deltaMode ? 0.05 : 0.0016));
      setView((last) => last && zoomed(last, factor, event.clientX - box.left, event.clientY - box.top));
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, []);

  const down = useCallback((event) => {
    if (event.button === 0) drag.current = { x: event.clientX, y: event.clientY, moved: false };
  }, []);
  const move = useCallback((event) => {
    const from = drag.current;
    if (!from || !(event.buttons & 1)) return;
    const dx = event.clientX - from.x, dy = event.clientY - from.y;
    if (!from.moved && Math.hypot(dx, dy) < 4) return;
    if (!from.moved) event.currentTarget.setPointerCapture(event.pointerId);
    drag.current = { x: event.clientX, y: event.clientY, moved: true };
    touched.current = true;
    setView((last) => last && { ...last, x: last.x + dx, y: last.y + dy });
  }, []);
  const wasDragged = () => drag.current?.moved ?? false;
  const zoom = (factor) => {
    touched.current = true;
    setView((last) => last && zoomed(last, factor, pane.width / 2, pane.height / 2));
  };
  const fit = () => {
    touched.current = true;
    setView(fitted(picture, pane));
  };
  const show = (rectangle) => setView((last) => last && shown(last, rectangle, pane));
  return { view, handlers: { onPointerDown: down, onPointerMove: move }, wasDragged, zoom, fit, show };
}

export { useViewport };
