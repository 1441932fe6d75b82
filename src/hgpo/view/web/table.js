// The table of rollouts: filters, sorting, pages of a hundred.
import { colourOf, make, plain, signed, whole } from "./dom.js";

export const PAGE = 100;
const FILTERS = [
  { name: "iteration", label: "iteration", hint: "10..20" },
  { name: "task", label: "task or instruction", hint: "mug", wide: true },
  { name: "type", label: "type" },
  { name: "won", label: "success" },
  { name: "steps", label: "steps", hint: "..12" },
  { name: "reward", label: "reward", hint: "1.." },
  { name: "advantage", label: "mean advantage", hint: "..-0.5" },
  { name: "text", label: "text of observations, actions", hint: "microwave", wide: true },
];
const COLUMNS = [["iteration", "iteration"], [null, "task"], [null, "success"], ["steps", "steps"], ["reward", "reward"],
  ["advantage", "advantage"], [null, "advantages by step"], ["against", "against success"], ["contradictions", "⚠ steps"]];
const MEANINGS = { against: "the mean advantage of a lost rollout, or its negative if the rollout was won",
  contradictions: "number of steps whose advantage has the opposite sign of every comparison" };
export const FILTER_NAMES = FILTERS.map(filter => filter.name);

// The form of filters; `change` gets the new values of those that changed.
export function filters(state, types, change) {
  const input = ({ name, label, hint, wide }) => {
    let node;
    if (name === "type" || name === "won") {
      const choices = name === "won" ? [["yes", "won"], ["no", "lost"]] : types.map(type => [type, plain(type) || "(none)"]);
      node = make("select", { change: () => change({ [name]: node.value }) }, make("option", { value: "" }, "all"),
        ...choices.map(([value, words]) => make("option", { value }, words)));
    } else node = make("input", { type: "search", placeholder: hint, class: wide ? "wide" : "", autocomplete: "off", spellcheck: "false",
      change: () => change({ [name]: node.value.trim() }) });
    node.id = `filter-${name}`;
    node.value = state[name] ?? "";
    return make("label", {}, label, node);
  };
  const clear = make("button", { type: "button", click: () => change(Object.fromEntries(FILTER_NAMES.map(name => [name, ""]))) }, "Clear");
  const active = FILTER_NAMES.filter(name => state[name]).length;
  // On a narrow screen the filters are folded away.
  return make("details", { class: "narrow", open: window.matchMedia("(min-width: 45rem)").matches },
    make("summary", {}, active ? `Filters (${active})` : "Filters"),
    make("form", { class: "filters", submit: event => event.preventDefault() }, ...FILTERS.map(input), clear));
}

// The rows of an answer. `open` gets the row that is chosen, `sortBy` the name of a column.
export function rolloutTable(answer, state, open, sortBy) {
  const down = state.order !== "up", sort = state.sort || "iteration";
  const head = make("tr", {}, ...COLUMNS.map(([name, label]) => make("th", { class: label === "task" ? "words" : "", title: MEANINGS[name] ?? "",
    "aria-sort": name === sort ? (down ? "descending" : "ascending") : "none" },
    name ? make("button", { type: "button", click: () => sortBy(name) }, label + (name === sort ? (down ? " ↓" : " ↑") : "")) : label)));
  const largest = Math.max(1e-9, ...answer.rows.flatMap(row => row.advantages.map(Math.abs)));
  const body = make("tbody", {}, ...answer.rows.map(row => {
    const strip = make("div", { class: "strip" });
    row.advantages.forEach((advantage, step) => {
      const cell = make("span", { title: `step ${step + 1}: ${signed(advantage)}` });
      cell.style.background = colourOf(advantage, largest);
      strip.append(cell);
    });
    const choose = () => open(row);
    const cell = (label, ...parts) => make("td", { "data-label": label }, ...parts);
    return make("tr", { tabindex: 0, "data-trajectory": row.trajectory, click: choose, keydown: event => { if (event.key === "Enter") choose(); } },
      cell("iteration", row.iteration), make("td", { class: "words" }, row.instruction || row.task, make("small", {}, plain(row.type) || row.trajectory)),
      make("td", { class: row.won ? "won" : "lost" }, row.won ? "✓ won" : "✗ lost"), cell("steps", row.steps), cell("reward", row.reward.toFixed(2)),
      cell("advantage", signed(row.advantage)), make("td", { class: "cells" }, strip),
      cell("against", signed(row.won ? -row.advantage : row.advantage)), cell("⚠", row.contradictions || "–"));
  }));
  return make("div", { class: "scroll" }, make("table", { class: "rollouts" }, make("thead", {}, head), body));
}
export function pager(answer, first, go) {
  const last = Math.min(answer.total, first + PAGE), unread = answer.read < answer.batches ? ` so far, ${answer.read} of ${answer.batches} iterations read …` : "";
  return make("div", { class: "pager" },
    make("button", { type: "button", id: "previous", disabled: first === 0, click: () => go(Math.max(0, first - PAGE)) }, "‹ previous"),
    make("span", { id: "total" }, answer.total ? `${whole(first + 1)} – ${whole(last)} of ${whole(answer.total)} rollouts${unread}` : unread ? `none${unread}` : "No rollout passes these filters."),
    make("button", { type: "button", id: "next", disabled: last >= answer.total, click: () => go(first + PAGE) }, "next ›"));
}
