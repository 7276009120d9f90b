// Zoom, search and the keyboard for a flame graph whose boxes are all in the document already: without this
// script it is a picture. Texts of boxes are only ever read and set as text.
"use strict";
(() => {
  const CHARACTER = 7.25, INDENT = 4, ROW = 18;  // px: of the font in flamegraph.css; of a row
  const flame = document.querySelector(".flame");
  const byId = (id) => document.getElementById(id);
  const boxes = [...flame.querySelectorAll(".box")].map((element, index) => ({
    element, index, text: element.querySelector("text"), label: element.querySelector("text").textContent,
    title: element.querySelector("title").textContent,
    x: parseFloat(element.getAttribute("x")), width: parseFloat(element.getAttribute("width")),
    level: Number(element.getAttribute("data-level")), parent: -1, children: [],
  }));
  const path = [];  // boxes come in order: what is called after what called it
  for (const box of boxes) {
    path.length = box.level;
    if (box.level > 0) { box.parent = path[box.level - 1].index; path[box.level - 1].children.push(box.index); }
    path[box.level] = box;
  }
  let zoomed = boxes[0], query = "";

  const inside = (box, outer) => {
    while (box.level > outer.level) box = boxes[box.parent];
    return box === outer;
  };

  // As many characters as there is room for.
  function fit() {
    const pixels = flame.getBoundingClientRect().width || 1200;
    for (const box of boxes) {
      if (box.element.style.display === "none") continue;
      const room = Math.floor((parseFloat(box.element.getAttribute("width")) / 100 * pixels - 2 * INDENT) / CHARACTER);
      const text = room >= box.label.length ? box.label : room < 3 ? "" : [...box.label].slice(0, room - 1).join("") + "…";
      if (box.text.textContent !== text) box.text.textContent = text;
    }
  }

  function zoom(box) {
    zoomed = box;
    const scale = 100 / Math.max(box.width, 1e-9);
    for (const one of boxes) {
      const within = inside(one, box), around = !within && inside(box, one);
      one.element.style.display = within || around ? "" : "none";
      one.element.classList.toggle("around", around);
      one.element.setAttribute("x", around ? "0%" : (one.x - box.x) * scale + "%");
      one.element.setAttribute("width", around ? "100%" : one.width * scale + "%");
    }
    byId("reset").style.visibility = box === boxes[0] ? "hidden" : "visible";
    fit();
    search(query);
  }

  // Boxes inside one that matches are in its time already.
  function search(text) {
    query = text.toLowerCase();
    let width = 0, count = 0, covered = -1;
    for (const box of boxes) {
      const match = query !== "" && box.title.toLowerCase().includes(query);
      box.element.classList.toggle("match", match);
      if (!match) { if (covered >= 0 && box.level <= covered) covered = -1; continue; }
      count += 1;
      if (covered >= 0 && box.level > covered) continue;
      covered = box.level;
      if (inside(box, zoomed)) width += box.width;
      else if (inside(zoomed, box)) width = zoomed.width;
    }
    byId("matches").textContent = query === "" ? "" :
      `${count} matching: ${(100 * width / Math.max(zoomed.width, 1e-9)).toFixed(1)} % of the time shown`;
  }

  const tell = (box) => { byId("told").textContent = box.title.replace(/\n/g, " · "); };

  let current = boxes[0];
  function focus(box) {
    if (!box || box.element.style.display === "none") return;
    current.element.setAttribute("tabindex", "-1");
    current = box;
    box.element.setAttribute("tabindex", "0");
    box.element.focus();
    tell(box);
  }

  const widest = (list) => list.map((index) => boxes[index])
    .reduce((best, box) => (best && best.width >= box.width ? best : box), undefined);
  const sibling = (box, step) => {
    const list = box.parent < 0 ? [] : boxes[box.parent].children;
    return boxes[list[list.indexOf(box.index) + step]];
  };

  if (boxes.length) {
    for (const box of boxes) {
      box.element.addEventListener("click", () => { focus(box); zoom(box); });
      box.element.addEventListener("mouseenter", () => tell(box));
    }
    current.element.setAttribute("tabindex", "0");
    flame.addEventListener("keydown", (event) => {
      const to = {
        ArrowDown: () => focus(widest(current.children)), ArrowUp: () => focus(boxes[current.parent]),
        ArrowRight: () => focus(sibling(current, 1)), ArrowLeft: () => focus(sibling(current, -1)),
        Enter: () => zoom(current), " ": () => zoom(current), Escape: () => zoom(boxes[0]),
      }[event.key];
      if (!to || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      to();
    });
    byId("reset").addEventListener("click", () => { zoom(boxes[0]); focus(boxes[0]); });
    const find = byId("search");
    if (find.tagName === "input" || find.tagName === "INPUT") {
      find.addEventListener("input", () => search(find.value));
    } else {
      find.addEventListener("click", () => search(prompt("Functions or files with this text:", query) ?? query));
    }
    addEventListener("resize", fit);
    zoom(boxes[0]);
  }
})();
