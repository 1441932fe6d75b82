// Credit: which advantages are shown, and where they disagree with success or with their own comparisons.
import { make, plain, percent, whole } from "./dom.js";

export const OWN = JSON.stringify({ name: "own" });
const MEASURES = {
  success: { name: "credit against success", share: c => [c.misordered, c.pairs],
    words: "pairs of a won and a lost rollout of one task in which the lost one has more credit" },
  comparisons: { name: "advantages against their comparisons", share: c => [c.against, c.steps],
    words: "steps whose advantage has the opposite sign of every comparison" },
  won: { name: "rollouts that were won", share: c => [c.won, c.rollouts], words: "rollouts that were won", good: true },
};

// A choice of the estimator and its settings, of which `choose` gets the new one as text.
export function creditChooser(credit, source, estimators, choose) {
  const chosen = JSON.parse(credit), own = source.estimator.split("(")[0].split(".").pop();
  const select = make("select", { "aria-label": "Advantages by", id: "credit", change: () => choose(JSON.stringify({ name: select.value })) },
    make("option", { value: "own" }, source.kind === "run" ? `the run's own (${own})` : `HGPO, as published`),
    ...(source.kind === "run" ? [] : [make("option", { value: "recorded" }, "recorded in the file")]),
    ...estimators.map(e => make("option", { value: e.name }, e.name)));
  select.value = chosen.name;
  select.title = chosen.name === "own" ? source.estimator : "";
  const parts = [make("label", { class: "toggle" }, "advantages by ", select)];
  const estimator = estimators.find(e => e.name === chosen.name);
  if (estimator?.settings.length) {
    const set = (name, value) => choose(JSON.stringify({ ...chosen, settings: { ...chosen.settings, [name]: value } }));
    const panel = make("div", { class: "panel" });
    for (const { name, value, words } of estimator.settings) {
      const now = chosen.settings?.[name] ?? value, id = `setting-${name}`;
      let input;
      if (typeof value === "boolean") input = make("input", { id, type: "checkbox", checked: now, change: () => set(name, input.checked) });
      else if (words.length) {
        input = make("select", { id, change: () => set(name, input.value) }, ...words.map(word => make("option", {}, word)));
        input.value = now;
      } else {
        const number = typeof value === "number";
        input = make("input", { id, type: number ? "number" : "text", step: "any", value: now,
          change: () => set(name, number ? Number(input.value) : input.value) });
      }
      panel.append(make("label", { for: id }, plain(name)), input);
    }
    parts.push(make("details", { class: "popover", open: Boolean(chosen.settings) && window.matchMedia("(min-width: 60rem)").matches },
      make("summary", {}, "settings"), panel));
  }
  return parts;
}

// The agreement of credit by task type and iteration. `pick` gets the type, the first and the last iteration.
export function creditMatrix(answer, measure, setMeasure, pick) {
  const { share, words, good } = MEASURES[measure];
  const cells = cellsOf(answer);
  const { types, iterations } = answer;
  const select = make("select", { "aria-label": "Measure", id: "measure", change: () => setMeasure(select.value) },
    ...Object.entries(MEASURES).map(([value, { name }]) => make("option", { value }, name)));
  select.value = measure;
  const box = make("section", { class: "matrix" }, make("div", { class: "legend" },
    make("label", { class: "toggle" }, "By task type and iteration: ", select), make("small", {}, `colour: share of ${words}`)));
  if (!iterations.length) { box.append(make("p", {}, "There are no rollouts yet.")); return box; }
  // As many columns as fit; a column stands for several iterations if there are more.
  const W = Math.max(320, Math.min(1290, document.documentElement.clientWidth - 60)), letter = W < 600 ? 5.4 : 6.4, row = 20;
  const left = 12 + letter * Math.min(30, Math.max(9, ...types.map(t => t.length))), columns = Math.min(iterations.length, Math.floor((W - left) / 5));
  const columnOf = new Map(iterations.map((it, i) => [it, Math.floor(i * columns / iterations.length)]));
  const width = (W - left) / columns, H = Math.max(1, types.length) * row + 22;
  const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${MEASURES[measure].name} by task type and iteration` });
  const sums = new Map();
  for (const cell of cells) {
    const key = `${cell.type} ${columnOf.get(cell.iteration)}`, [part, all] = share(cell);
    const sum = sums.get(key) ?? { part: 0, all: 0, type: cell.type, column: columnOf.get(cell.iteration), iterations: [] };
    sum.part += part; sum.all += all; sum.iterations.push(cell.iteration);
    sums.set(key, sum);
  }
  types.forEach((type, i) => svg.append(make("text", { x: left - 6, y: i * row + 14, "text-anchor": "end" }, shortened(plain(type) || "all tasks"))));
  for (const { part, all, type, column, iterations: its } of sums.values()) {
    const value = all ? part / all : null, first = Math.min(...its), last = Math.max(...its);
    const fill = value === null ? "var(--line)" : good ? `color-mix(in oklab, var(--good) ${Math.round(100 * value)}%, var(--line))`
      : `color-mix(in oklab, var(--bad) ${Math.round(Math.min(100, 140 * value))}%, color-mix(in oklab, var(--good) 22%, var(--card)))`;
    svg.append(make("rect", { x: left + column * width, y: type * row + 1, width: Math.max(1, width - (width > 4 ? 1 : 0)), height: row - 2, fill, opacity: value === null ? .5 : 1,
      "data-type": types[type], "data-first": first, "data-last": last, click: () => pick(types[type], first, last) },
      make("title", {}, `${plain(types[type]) || "all tasks"}, iteration ${first === last ? first : `${first} to ${last}`}: ` +
        (all ? `${percent(value)} of ${whole(all)}` : "nothing to compare"))));
  }
  svg.append(make("text", { x: left, y: H - 4 }, iterations[0]), make("text", { x: W, y: H - 4, "text-anchor": "end" }, `iteration ${iterations.at(-1)}`));
  box.append(svg);
  // Of some iterations alone, too much would stand out.
  if (answer.read === answer.batches) box.append(...findings(answer, pick));
  else box.append(make("small", {}, `${answer.read} of ${answer.batches} iterations read …`));
  return box;
}

const shortened = text => text.length > 30 ? text.slice(0, 29) + "…" : text;

const cellsOf = answer => answer.cells.map(([type, iteration, pairs, misordered, steps, against, rollouts, won]) =>
  ({ type, iteration, pairs, misordered, steps, against, rollouts, won }));

// In words: task types whose credit is mostly the wrong way round, each with the iteration where that is clearest.
// A list of buttons, in an array that is empty if there are none.
export function findings(answer, pick) {
  const found = [], cells = cellsOf(answer);
  answer.types.forEach((type, number) => {
    const own = cells.filter(c => c.type === number), sum = name => own.reduce((s, c) => s + c[name], 0);
    for (const [measure, part, all, least] of [["success", "misordered", "pairs", .4], ["comparisons", "against", "steps", .1]]) {
      const share = sum(part) / sum(all);
      if (sum(all) < 20 || share < least) continue;
      const worst = own.reduce((best, c) => c[part] > best[part] ? c : best).iteration;
      found.push({ type, worst, share, text: `${plain(type) || "all tasks"}: ` + (measure === "success"
        ? `in ${percent(share)} of ${whole(sum(all))} pairs, the lost rollout has more credit than the won one; clearest in iteration ${worst}`
        : `${percent(share)} of the advantages have the opposite sign of every comparison; most in iteration ${worst}`) });
    }
  });
  if (!found.length) return [];
  return [make("ul", { class: "findings" }, ...found.sort((a, b) => b.share - a.share).slice(0, 4).map(({ type, worst, text }) =>
    make("li", {}, make("button", { type: "button", click: () => pick(type, worst, worst) }, text))))];
}
