// The charts, drawn by Observable Plot: roofline, steps, memory. Colours are those of page.css.
"use strict";
{
  const { element, data } = tinytrace;
  const LEVELS = { L1: "var(--l1)", L2: "var(--l2)", L3: "var(--l3)", DRAM: "var(--dram)" };
  const STYLE = { fontSize: "12px", fontFamily: "inherit", overflow: "visible" };
  const figure = (value) => Number(value.toPrecision(3)).toLocaleString("en");

  // Draw in a place of the page, and again when its width changes.
  const chart = (id, draw) => {
    const place = document.getElementById(id);
    const again = () => place.replaceChildren(...draw(Math.max(280, place.clientWidth)));
    tinytrace.redraw.push(again);
    again();
  };
  const legend = (entries) => element("p", { class: "legend", "aria-hidden": "true" },
    ...entries.map(([kind, colour, text]) =>
      element("span", {}, element("i", { class: `swatch ${kind}`, style: `color:${colour};border-color:${colour};`
        + (kind ? "" : `background:${colour}`) }), text)));
  const decades = ([low, high]) => {
    const found = [];
    for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power += 1) found.push(10 ** power);
    return found;
  };
  const short = (value) => (value >= 1000 ? `${value / 1000}k` : `${Number(value.toPrecision(3))}`);

  // What Plot calls the groups of its marks is of no use to those who listen to the page.
  const silence = (svg) => svg.querySelectorAll("g[aria-label]").forEach((group) => group.removeAttribute("aria-label"));
  const picture = (svg) => {
    silence(svg);
    svg.setAttribute("role", "img");
    return svg;
  };

  // --- roofline ---------------------------------------------------------------------------------
  const roofline = data.roofline;
  if (roofline.points.length || roofline.ceilings.length) {
    const MARGIN = 1.7, LARGEST = 26, LEAST = 3.5;
    const { levels, ceilings } = roofline;
    const points = roofline.points.map((point, number) => ({ ...point, number }));
    const mostNs = Math.max(1, ...points.map((point) => point.ns));
    const fastest = Math.max(0, ...levels.map((level) => level.gbps));
    const highest = Math.max(0, ...ceilings.map((ceiling) => ceiling.gflops));
    let chosen = 0; // of the points: the one whose figures are shown

    const details = (point) => {
      const place = document.getElementById("roofline-details");
      place.replaceChildren(element("h3", {}, point.name), element("dl", {},
        ...point.rows.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)])));
    };

    const domains = () => {
      const ridges = levels.flatMap((level) => ceilings.map((ceiling) => ceiling.gflops / level.gbps));
      const xs = [2 ** -5, 2 ** 6, ...ridges, ...points.map((point) => point.x)];
      const ys = [...points.map((point) => point.y), ...ceilings.map((ceiling) => ceiling.gflops)];
      return [[Math.min(...xs) / MARGIN, Math.max(...xs) * MARGIN],
        [Math.min(...ys) / MARGIN, Math.max(...ys) * MARGIN]];
    };

    const draw = (width) => {
      const height = Math.round(Math.min(520, Math.max(320, width * 0.62)));
      const [x, y] = domains();
      const scale = Math.min(1, width / 700);
      const radius = (point) => Math.max(LEAST, LARGEST * scale * Math.sqrt(point.ns / mostNs));
      const slopes = levels.map((level) => {
        const from = Math.max(x[0], y[0] / level.gbps);
        const to = Math.min(x[1], (highest || y[1]) / level.gbps);
        return { level, line: to > from ? [[from, from * level.gbps], [to, to * level.gbps]] : [] };
      });
      const svg = Plot.plot({
        width, height, style: STYLE, marginLeft: 46, marginBottom: 42, marginTop: 14, marginRight: 14,
        ariaLabel: `Roofline: ${points.length} groups of calls under ${ceilings.length} roofs of arithmetic and `
          + `${levels.length} of memory. Arrow keys go from point to point.`,
        x: { type: "log", domain: x, label: "arithmetic intensity, FLOP per byte", ticks: decades(x), tickFormat: short, labelAnchor: "center", labelArrow: "none" },
        y: { type: "log", domain: y, label: "GFLOP/s", ticks: decades(y), tickFormat: short, labelArrow: "none" },
        r: { type: "identity" }, color: { type: "identity" }, symbol: { type: "identity" },
        marks: [
          Plot.gridX(decades(x), { stroke: "var(--line)", strokeOpacity: 1 }),
          Plot.gridY(decades(y), { stroke: "var(--line)", strokeOpacity: 1 }),
          ...slopes.map(({ level, line }) => Plot.line(line, {
            stroke: LEVELS[level.name] || "var(--nolevel)", strokeWidth: 2, strokeDasharray: level.resolvable ? null : "6 4",
          })),
          ...ceilings.map((ceiling) => Plot.line(
            [[fastest ? Math.max(x[0], ceiling.gflops / fastest) : x[0], ceiling.gflops], [x[1], ceiling.gflops]],
            { stroke: "var(--ink)", strokeWidth: 1.6, strokeDasharray: ceiling.sort === "matrix" ? null : "7 3 2 3" },
          )),
          Plot.dot(points, {
            x: "x", y: "y", r: radius, sort: null,
            symbol: (point) => (point.square ? d3.symbolSquare : d3.symbolCircle),
            fill: (point) => (point.impossible ? "var(--card)" : LEVELS[point.level] || "var(--nolevel)"),
            stroke: (point) => (point.impossible ? "var(--bad)" : "var(--card)"),
            fillOpacity: 0.85, strokeWidth: 1.2,
          }),
        ],
      });
      const place = { x: svg.scale("x").apply, y: svg.scale("y").apply };
      const circles = around(place, radius);
      labelPoints(svg, place, labelCeilings(svg, place, circles, x[1]), circles, radius, width);
      makePoints(svg);
      return [
        legend([
          ...levels.map((level) => [level.resolvable ? "stroke" : "stroke dashed", LEVELS[level.name] || "var(--nolevel)",
            `${level.name}: ${level.resolvable ? "" : "at least "}${figure(level.gbps)} GB/s`]),
          ...(points.some((point) => !point.level) ? [["", "var(--nolevel)", "level not known"]] : []),
        ]),
        svg,
      ];
    };

    const write = (svg, x, y, text, anchor) => d3.select(svg).append("text").attr("class", "name").attr("x", x).attr("y", y)
      .attr("text-anchor", anchor).attr("aria-hidden", "true").text(text);

    const apart = (one, other) => one[2] < other[0] || other[2] < one[0] || one[3] < other[1] || other[3] < one[1];
    const around = (place, radius) => points.map((point) => {
      const r = radius(point), x = place.x(point.x), y = place.y(point.y);
      return [x - r, y - r, x + r, y + r];
    });

    // On each roof, near its right end, where no other roof is and, if there is such a place, no point; returns the
    // boxes they take.
    const labelCeilings = (svg, place, circles, right) => {
      const boxes = [], roofs = ceilings.map((ceiling) => place.y(ceiling.gflops));
      const end = place.x(right), ends = [0, 0.12, 0.24, 0.36].map((share) => end - share * (end - 46));
      ceilings.forEach((ceiling, number) => {
        const sort = ceiling.sort === "matrix" ? "matrix products" : "additions";
        const text = `${ceiling.dtype} ${sort}: ${figure(ceiling.gflops)} GFLOP/s`;
        const spots = ends.flatMap((x) => [roofs[number] - 5, roofs[number] + 13].map((y) => [x - 6.2 * text.length, y - 11, x, y + 3]))
          .filter((box) => boxes.every((other) => apart(box, other))
            && roofs.every((y, other) => other === number || y < box[1] || y > box[3]));
        const box = spots.find((spot) => circles.every((circle) => apart(spot, circle))) || spots[0];
        if (!box) return; // its figure is in the table of roofs
        write(svg, box[2], box[3] - 3, text, "end");
        boxes.push(box);
      });
      return boxes;
    };

    // Names of the points with most time, where nothing is yet.
    const labelPoints = (svg, place, boxes, circles, radius, width) => {
      for (const point of points.slice(0, width < 500 ? 4 : 9)) {
        const r = radius(point), cx = place.x(point.x), cy = place.y(point.y), long = 6.3 * point.name.length;
        const spots = [[cx + r + 4, cy + 4, "start"], [cx - r - 4, cy + 4, "end"], [cx, cy - r - 5, "middle"], [cx, cy + r + 13, "middle"]];
        for (const [x, y, anchor] of spots) {
          const left = anchor === "start" ? x : anchor === "end" ? x - long : x - long / 2;
          const box = [left, y - 10, left + long, y + 3];
          const others = [...boxes, ...circles.filter((_, number) => number !== point.number)];
          if (box[0] > 48 && box[2] < width - 10 && others.every((other) => apart(box, other))) {
            write(svg, x, y, point.name, anchor);
            boxes.push(box);
            break;
          }
        }
      }
    };

    // Points are reached by Tab, and one another by the arrow keys.
    const makePoints = (svg) => {
      svg.setAttribute("role", "group");
      const group = svg.querySelector('g[aria-label="dot"]');
      const marks = group ? [...group.children] : [];
      silence(svg);
      const choose = (number) => {
        chosen = number;
        marks.forEach((mark, n) => {
          mark.classList.toggle("chosen", n === number);
          mark.setAttribute("tabindex", n === number ? "0" : "-1");
        });
        details(points[number]);
      };
      const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
      marks.forEach((mark, number) => {
        const point = points[number];
        mark.classList.add("point");
        mark.setAttribute("role", "img");
        mark.setAttribute("aria-label", `${point.name}: ${point.rows.map(([key, value]) => `${key} ${value}`).join("; ")}`);
        for (const kind of ["mouseenter", "focus", "click"]) mark.addEventListener(kind, () => choose(number));
        mark.addEventListener("keydown", (event) => {
          const step = STEPS[event.key];
          if (step === undefined) return;
          event.preventDefault();
          marks[(number + step + marks.length) % marks.length].focus();
        });
      });
      if (marks.length) choose(chosen);
      else document.getElementById("roofline-details").textContent = "No op whose FLOPs and bytes are both known.";
    };
    chart("roofline-chart", draw);
  } else document.querySelector(".roofline").hidden = true;

  // --- steps ------------------------------------------------------------------------------------
  const steps = data.steps;
  if (steps) {
    const rows = steps.first.map((first, n) => ({
      step: first + (steps.perBar - 1) / 2, first, last: Math.min(steps.n, first + steps.perBar) - 1,
      low: steps.low[n], middle: steps.middle[n], high: steps.high[n],
    }));
    const most = Math.max(...steps.high), logarithmic = most > 10 * steps.median && Math.min(...steps.low) > 0;
    const unit = steps.median >= 1000 ? [1000, "s"] : steps.median >= 1 ? [1, "ms"] : [0.001, "µs"];
    const shown = (ms) => tinytrace.time(ms * 1e6);
    const title = (row) => (steps.perBar === 1 ? `step ${row.first}: ${shown(row.middle)}`
      : `steps ${row.first} to ${row.last}\nmedian ${shown(row.middle)}\nleast ${shown(row.low)}\nmost ${shown(row.high)}`);
    const scaled = (ms) => ms / unit[0];
    const least = Math.min(...steps.low);
    chart("steps-chart", (width) => {
      const bottom = logarithmic ? scaled(least) / 1.3 : 0;
      const slowest = steps.slowest && { x: steps.slowest[0], y: scaled(steps.slowest[1]) };
      const svg = Plot.plot({
        width, height: 240, style: STYLE, marginLeft: 52, marginRight: 14, marginTop: 26, marginBottom: 36,
        ariaLabel: `Durations of ${steps.n} steps: median ${shown(steps.median)}, longest ${shown(most)}.`,
        x: { label: "step", labelAnchor: "center", labelArrow: "none", domain: [-0.5, steps.n - 0.5], ticks: Math.min(steps.n - 1, width / 90), tickFormat: (v) => (Number.isInteger(v) ? v.toLocaleString("en") : "") },
        y: { type: logarithmic ? "log" : "linear", domain: [bottom, scaled(most) * (logarithmic ? 1.4 : 1.08)], label: `${unit[1]}${logarithmic ? " (logarithmic)" : ""}`, labelArrow: "none", grid: true, ticks: logarithmic ? decades([bottom, scaled(most) * 1.4]) : 5, tickFormat: logarithmic ? short : undefined },
        marks: [
          steps.warmup ? Plot.rect([0], { x1: -0.5, x2: steps.warmup - 0.5, y1: bottom, y2: scaled(most) * (logarithmic ? 1.4 : 1.08), fill: "var(--latency)", fillOpacity: 0.14 }) : null,
          steps.perBar > 1 ? Plot.ruleX(rows, { x: "step", y1: (row) => scaled(row.low), y2: (row) => scaled(row.high), stroke: "var(--compute)", strokeOpacity: 0.45, strokeWidth: Math.max(1, (width - 70) / rows.length) }) : null,
          Plot.dot(rows, { x: "step", y: (row) => scaled(row.middle), r: rows.length > 200 ? 1.4 : 2.4, fill: "var(--compute)" }),
          Plot.ruleY([scaled(steps.median)], { stroke: "var(--ink)", strokeDasharray: "4 3" }),
          slowest ? Plot.dot([slowest], { x: "x", y: "y", r: 5, stroke: "var(--bad)", strokeWidth: 2 }) : null,
          Plot.tip(rows, Plot.pointerX({ x: "step", y: (row) => scaled(row.middle), title })),
        ],
      });
      const entries = [["stroke dashed", "var(--ink)", `median ${shown(steps.median)}`]];
      if (steps.warmup) entries.push(["", "color-mix(in srgb, var(--latency) 30%, var(--card))", `warm-up: ${steps.warmup.toLocaleString("en")} ${steps.warmup === 1 ? "step" : "steps"}, in no figure`]);
      if (slowest) entries.push(["", "var(--bad)", `slowest: ${shown(steps.slowest[1])}`]);
      if (steps.perBar > 1) entries.push(["", "var(--compute)", `each stroke: ${steps.perBar} steps, least, median, most`]);
      return [legend(entries), picture(svg)];
    });
  }

  // --- memory -----------------------------------------------------------------------------------
  if (data.memory.length) {
    const COLOURS = { resident: "var(--memory)", "NumPy arrays": "var(--balanced)", "arrays since the reading before": "var(--overhead)" };
    const FAINT = "arrays since the reading before"; // behind the others: the most that was alive between two readings
    const lasting = Math.max(1e-9, ...data.memory.flatMap(({ lines }) => lines.flatMap(({ s }) => s)));
    chart("memory-chart", (width) => data.memory.flatMap(({ pid, lines }) => {
      const rows = lines.flatMap(({ name, s, mb }) => s.map((t, n) => ({ name, t, mb: mb[n] })));
      if (!rows.length) return [];
      const peaks = lines.map(({ name, s, mb }) => {
        const at = mb.indexOf(Math.max(...mb));
        return { name, t: s[at], mb: mb[at] };
      });
      const most = Math.max(...rows.map((row) => row.mb), 0);
      const [divisor, unit] = most >= 2000 ? [1000, "GB"] : most >= 2 ? [1, "MB"] : [0.001, "kB"];
      const svg = Plot.plot({
        width, height: 240, style: STYLE, marginLeft: 52, marginRight: 14, marginTop: 26, marginBottom: 36,
        ariaLabel: `Memory over time: ${peaks.map((peak) => `${peak.name} at most ${figure(peak.mb)} MB`).join(", ")}.`,
        x: { domain: [0, lasting], label: "seconds", labelAnchor: "center", labelArrow: "none", ticks: width / 90 },
        y: { domain: [Math.min(0, ...rows.map((row) => row.mb)) / divisor, (most || 1) * 1.06 / divisor], label: unit, labelArrow: "none", grid: true, ticks: 5 },
        marks: [
          ...[...lines].sort((a, b) => (b.name === FAINT) - (a.name === FAINT)).map(({ name }) => Plot.line(rows.filter((row) => row.name === name), {
            x: "t", y: (row) => row.mb / divisor, stroke: COLOURS[name], strokeWidth: name === FAINT ? 1 : 1.6, strokeOpacity: name === FAINT ? 0.6 : 1,
          })),
          Plot.dot(peaks, { x: "t", y: (row) => row.mb / divisor, fill: (row) => COLOURS[row.name], r: 3.5, stroke: "var(--card)" }),
          Plot.tip(rows, Plot.pointerX({ x: "t", y: (row) => row.mb / divisor, title: (row) => `${row.name}\n${figure(row.mb)} MB at ${figure(row.t)} s` })),
        ],
        color: { type: "identity" },
      });
      const entries = peaks.map((peak) => ["stroke", COLOURS[peak.name], `${peak.name === FAINT ? "arrays, most since the reading before" : peak.name}: at most ${figure(peak.mb)} MB`]);
      return [...(data.memory.length > 1 ? [element("h3", {}, `Process ${pid}`)] : []), legend(entries), picture(svg)];
    }));
  }
}
