// Charts: lines, points or bars over a number; the pointer reads their values, a click chooses one.
import { COLOURS, make, swatch } from "./dom.js";

const W = 420, H = 220, L = 46, R = 8, T = 8, B = 28;

// The round number that is nearest above: 1, 2, 2.5 or 5 times a power of ten.
function stepOf(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 2.5, 5, 10].find(n => n * power >= least * (1 - 1e-9));
}

// A piece of a dashed line, for the key.
function sample(colour, dashes) {
  return make("svg", { viewBox: "0 0 24 8", class: "sample" },
    make("line", { x1: 0, x2: 24, y1: 4, y2: 4, stroke: colour, "stroke-width": 3, "stroke-dasharray": dashes }));
}

export function chart(title, series, { top = null, format = v => String(Number(v.toPrecision(3))), x = "iteration",
  label = v => String(Math.round(v * 100) / 100), pick = null } = {}) {
  const points = series.flatMap(s => s.points.filter(p => p[1] !== null));
  const caption = make("figcaption", {}, title);
  const figure = make("figure", { class: pick ? "answers-clicks" : "" }, caption);
  if (!points.length) { figure.append(make("p", {}, "nothing was measured")); return figure; }
  const xs = points.map(p => p[0]), x0 = Math.min(...xs), x1 = Math.max(...xs, x0 + 1e-9);
  const lowest = Math.min(0, ...points.map(p => p[1])), highest = top ?? (Math.max(...points.map(p => p[1])) || 1);
  const step = stepOf((highest - lowest) / 4), y0 = Math.floor(lowest / step) * step, y1 = Math.ceil(highest / step - 1e-9) * step;
  const px = v => L + (W - L - R) * (v - x0) / (x1 - x0), py = v => H - B - (H - T - B) * (v - y0) / (y1 - y0);
  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title });
  for (let v = y0; v <= y1 + step / 2; v += step)
    svg.append(make("line", { x1: L, x2: W - R, y1: py(v), y2: py(v), stroke: "var(--line)" }),
      make("text", { x: L - 5, y: py(v) + 4, "text-anchor": "end" }, format(Math.abs(v) < step / 2 ? 0 : v)));
  svg.append(make("text", { x: L, y: H - 8 }, label(x0)),
    make("text", { x: W - R, y: H - 8, "text-anchor": "end" }, `${x} ${label(x1)}`));
  const key = make("div", { class: "key" });
  const readings = series.map((s, i) => {
    const colour = s.colour ?? COLOURS[i % COLOURS.length];
    const drawn = s.points.filter(p => p[1] !== null);
    if (s.bars) for (const p of drawn)
      svg.append(make("rect", { x: px(p[0]) - s.bars * (W - L - R) / 2, y: py(Math.max(p[1], 0)),
        width: Math.max(1, s.bars * (W - L - R)), height: Math.abs(py(0) - py(p[1])), fill: colour }));
    else svg.append(make("path", { d: drawn.map((p, j) => (j ? "L" : "M") + px(p[0]) + " " + py(p[1])).join(""),
      stroke: colour, fill: "none", "stroke-width": s.thin ? 1 : 2, opacity: s.thin ? .45 : 1,
      "stroke-dasharray": s.dashes ?? "none" }));
    if (s.marks) for (const p of drawn)
      svg.append(make("circle", { cx: px(p[0]), cy: py(p[1]), r: 4, fill: colour }));
    const value = make("b");
    key.append(make("span", {}, s.dashes === undefined ? swatch(colour) : sample(colour, s.dashes), s.name + " ", value));
    return { drawn, value };
  });
  const line = make("line", { class: "reading", y1: T, y2: H - B, visibility: "hidden" });
  svg.append(line);
  let at = null;
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), wanted = (event.clientX - box.left) / box.width * W;
    at = xs.reduce((best, v) => Math.abs(px(v) - wanted) < Math.abs(px(best) - wanted) ? v : best);
    line.setAttribute("x1", px(at)); line.setAttribute("x2", px(at)); line.setAttribute("visibility", "visible");
    caption.textContent = `${title}, ${x} ${label(at)}`;
    for (const { drawn, value } of readings) {
      const near = drawn.find(p => p[0] === at);
      value.textContent = near ? format(near[1]) : "";
    }
  });
  svg.addEventListener("pointerleave", () => {
    at = null; caption.textContent = title; line.setAttribute("visibility", "hidden");
    for (const { value } of readings) value.textContent = "";
  });
  if (pick) svg.addEventListener("click", () => { if (at !== null) pick(Math.round(at)); });
  figure.append(svg, key);
  return figure;
}
