// The page without its charts: the theme, the sections in the bar, the table of ops.
"use strict";

const tinytrace = {
  data: JSON.parse(document.getElementById("data").textContent),
  redraw: [], // functions that draw a chart again, when its width or the theme changes

  // An element with attributes and children; text is text, never HTML.
  element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  },

  // The value of a colour of page.css, such as "compute".
  colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  },

  time(ns) {
    for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) {
      if (ns >= 0.9995 * size) return `${Number((ns / size).toPrecision(3))}\u202f${unit}`;
    }
    return `${Math.round(ns)}\u202fns`;
  },
};

{
  const button = document.getElementById("theme");
  const themes = ["system", "light", "dark"];
  let theme = "system";
  try {
    theme = localStorage.getItem("tinytrace-theme") || theme;
  } catch { /* a page from a file may have no storage: then the choice lasts as long as the page */ }
  const apply = (chosen) => {
    theme = themes.includes(chosen) ? chosen : "system";
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    tinytrace.redraw.forEach((draw) => draw());
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    apply(themes[(themes.indexOf(theme) + 1) % themes.length]);
    try {
      localStorage.setItem("tinytrace-theme", theme);
    } catch { /* as above */ }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(theme));
  apply(theme);
}

// The bar says which section is being read.
{
  const links = new Map([...document.querySelectorAll(".top nav a")].map((a) => [a.hash.slice(1), a]));
  const seen = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    const first = [...links.keys()].find((name) => seen.has(name));
    for (const [name, link] of links) {
      if (name === first) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-15% 0px -60% 0px" });
  for (const name of links.keys()) watcher.observe(document.getElementById(name));
}

// Every column of the table of ops sorts it; words filter it.
{
  const table = document.getElementById("ops-table");
  if (table) {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    const value = (row, column) => {
      const cell = row.cells[column];
      if (!heads[column].classList.contains("number")) return cell.textContent.toLowerCase();
      return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      if (a === null || b === null) return a === b ? 0 : a === null ? Infinity : -Infinity; // not known: last
      return typeof a === "string" ? a.localeCompare(b) : a - b;
    };
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const next = before === "none" ? (numeric ? "descending" : "ascending")
        : before === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? next : "none"));
      const sign = next === "ascending" ? 1 : -1;
      rows.sort((a, b) => {
        const order = compare(value(a, column), value(b, column));
        return Number.isFinite(order) ? sign * order : Math.sign(order);
      });
      body.append(...rows);
    }));
    const filter = document.getElementById("ops-filter"), shown = document.getElementById("ops-shown");
    const all = shown.textContent;
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        count += !row.hidden;
      }
      shown.textContent = words.length ? `${count} of ${rows.length} rows` : all;
    });
  }
}

// On paper nothing can be opened: what is short is open, long tables stay away.
{
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open], .bulky)")];
    opened.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
}

// Charts are as wide as the page.
{
  let timer, width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(() => tinytrace.redraw.forEach((draw) => draw()), 100);
  });
}
