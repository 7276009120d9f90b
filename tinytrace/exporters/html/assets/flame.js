// The flame graph: time by call stack, callers above; click, or Enter, to see a call alone.
"use strict";
{
  const { element, time, data: { flame } } = tinytrace;
  const HEIGHT = 20, NARROWEST_PX = 1.5; // what is narrower cannot be seen
  const place = element("div"), said = document.getElementById("flame-details");
  document.getElementById("flame").append(place);
  const reset = document.getElementById("flame-reset");
  const search = document.getElementById("flame-search"), found = document.getElementById("flame-found");

  const draw = flame && (() => {
    const n = flame.function.length, children = Array.from({ length: n + 1 }, () => []);
    flame.parent.forEach((parent, call) => children[parent < 0 ? n : parent].push(call));
    const name = (call) => flame.names[flame.function[call]], file = (call) => flame.files[flame.function[call]];
    const share = (ns) => `${(100 * ns / flame.wholeNs).toFixed(1)}\u202f%`;
    const told = (call) => {
      const total = flame.totalNs[call], own = flame.selfNs[call];
      const where = file(call) ? ` (${file(call)})` : "";
      return `${name(call)}${where}: ${time(total)}, ${share(total)} of the samples; ${time(own)} in itself`;
    };
    let root = n, hits = null, frames = new Map();

    const show = (chosen) => {
      root = chosen;
      reset.disabled = root === n;
      place.replaceChildren();
      frames = new Map();
      const wide = place.clientWidth;
      const around = [];
      if (root < n) for (let up = flame.parent[root]; up >= 0; up = flame.parent[up]) around.unshift(up);
      around.forEach((call, depth) => add(call, 0, 1, depth, true));
      let rows = around.length;
      const level = (calls, left, width, whole, depth) => {
        for (const call of calls) {
          const part = width * flame.totalNs[call] / whole;
          if (part * wide >= NARROWEST_PX) {
            add(call, left, part, depth, false);
            rows = Math.max(rows, depth + 1);
            stack.push([children[call], left, part, flame.totalNs[call], depth + 1]);
          }
          left += part;
        }
      };
      const stack = [[root < n ? [root] : children[n], 0, 1, root < n ? flame.totalNs[root] : flame.wholeNs, around.length]];
      while (stack.length) level(...stack.pop());
      place.style.height = `${rows * HEIGHT}px`;
      const first = frames.get(root < n ? root : children[n][0]);
      if (first) first.tabIndex = 0;
    };
    const add = (call, left, width, depth, isAround) => {
      const frame = element("div", {
        role: "treeitem", tabindex: "-1", "aria-level": depth + 1, "aria-label": told(call), "data-call": call,
      }, width > 0.02 ? name(call) : "");
      if (flame.library[flame.function[call]]) frame.classList.add("library");
      if (flame.parent[call] < 0) frame.classList.add("thread");
      if (isAround) frame.classList.add("around");
      if (hits && hits.has(flame.function[call])) frame.classList.add("hit");
      frame.style.left = `${100 * left}%`;
      frame.style.width = `${100 * width}%`;
      frame.style.top = `${depth * HEIGHT}px`;
      if (width < 0.01) frame.style.padding = "0";
      frames.set(call, frame);
      place.append(frame);
    };
    const focus = (call) => {
      const frame = frames.get(call);
      if (!frame) return;
      frames.forEach((other) => { other.tabIndex = -1; });
      frame.tabIndex = 0;
      frame.focus({ preventScroll: false });
    };
    const call = (event) => {
      const at = event.target.closest("[data-call]");
      return at ? Number(at.dataset.call) : null;
    };
    const zoom = (chosen) => {
      show(chosen === root && root < n ? (flame.parent[root] < 0 ? n : flame.parent[root]) : chosen);
      focus(chosen);
    };
    const beside = (chosen, step) => {
      const same = children[flame.parent[chosen] < 0 ? n : flame.parent[chosen]].filter((one) => frames.has(one));
      return same[same.indexOf(chosen) + step];
    };
    const KEYS = {
      ArrowDown: (c) => focus(children[c].find((one) => frames.has(one))),
      ArrowUp: (c) => focus(flame.parent[c]),
      ArrowLeft: (c) => focus(beside(c, -1)),
      ArrowRight: (c) => focus(beside(c, 1)),
      Enter: zoom,
      " ": zoom,
      Escape: (c) => { show(n); focus(c); },
    };
    place.setAttribute("role", "tree");
    place.setAttribute("aria-label",
      "Call stacks, callers above. Arrow keys move, Enter shows a call alone, Escape shows all.");
    place.addEventListener("click", (event) => { if (call(event) !== null) zoom(call(event)); });
    place.addEventListener("keydown", (event) => {
      if (call(event) === null || !KEYS[event.key]) return;
      event.preventDefault();
      KEYS[event.key](call(event));
    });
    for (const kind of ["mouseover", "focusin"]) {
      place.addEventListener(kind, (event) => { if (call(event) !== null) said.textContent = told(call(event)); });
    }
    reset.addEventListener("click", () => show(n));
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      hits = wanted ? new Set(flame.names.flatMap((text, number) =>
        `${text} ${flame.files[number] || ""}`.toLowerCase().includes(wanted) ? [number] : [])) : null;
      show(root);
      // A call inside one that was found is not counted again; callers come first.
      let ns = 0;
      const inside = new Uint8Array(n);
      for (let one = 0; hits && one < n; one += 1) {
        const up = flame.parent[one], hit = hits.has(flame.function[one]);
        if (hit && !(up >= 0 && inside[up])) ns += flame.totalNs[one];
        inside[one] = hit || (up >= 0 && inside[up]);
      }
      found.textContent = hits ? `found in ${share(ns)} of the samples` : "";
    });
    document.getElementById("flame-tools").hidden = false;
    said.textContent = "Point at a call, or move to it by the arrow keys; click it to see it alone.";
    return () => show(root);
  })();
  if (draw) {
    tinytrace.redraw.push(draw);
    draw();
  }
}
