// The live page: its screens, the place in them, keys, and what is new.
import { $, COLOURS, make, whole } from "./dom.js";
import { curves, evaluationTable, settingsTable } from "./curves.js";
import { SAVED, ask, askAll, forget } from "./data.js";
import { OWN, creditChooser, creditMatrix, findings } from "./credit.js";
import { FILTER_NAMES, PAGE, filters, pager, rolloutTable } from "./table.js";
import { taskScreen } from "./task.js";
import { compareScreen } from "./compare.js";
import { saveView } from "./save.js";

const SCREENS = { curves: "Curves", rollouts: "Rollouts", task: "Task", compare: "Compare" };
// Seconds between questions for news, and after which a run without any does not count as training.
const SECONDS = 2, OLD = 600;
const KEYS = [["1 – 4", "curves, rollouts, task, compare"], ["/", "search the texts of rollouts"], ["j k", "next and previous rollout, or step"],
  ["Enter", "open the rollout"], ["n p", "next and previous page, or rollout of the task"], ["s", "save this view"], ["Esc", "leave a field, close this"]];
let known = null, turn = 0;
let place = read(SAVED ? SAVED.place : location.hash);

// The place in the page is in its address: the screen and what it shows.
function read(hash) {
  const [screen, query] = hash.replace(/^#/, "").split("?");
  return { ...Object.fromEntries(new URLSearchParams(query ?? "")), screen: screen in SCREENS ? screen : "" };
}
function written(state) {
  const { screen, ...rest } = state;
  const query = new URLSearchParams(Object.entries(rest).filter(([, value]) => value !== "" && value !== undefined && value !== null));
  return `#${screen}${[...query].length ? `?${query}` : ""}`;
}
function go(changes) {
  const next = { ...place, ...changes };
  // A saved view has no history of addresses: a file's address stays what it is.
  if (SAVED) { place = next; render(); return; }
  location.hash = written(next);
}
function notice(words, calm = false) {
  $("notice").textContent = words;
  $("notice").hidden = !words;
  $("notice").classList.toggle("calm", calm);
}
const credit = () => place.credit || OWN;
const source = () => Math.min(Number(place.source ?? 0) || 0, known.sources.length - 1);
const hidden = () => new Set((place.hide ?? "").split(".").filter(Boolean).map(Number));

function choices() {
  const { sources, estimators } = known, parts = [], several = sources.length > 1;
  if (place.screen === "curves" && several) sources.forEach((run, i) => {
    if (run.kind !== "run") return;
    const off = hidden(), box = make("input", { type: "checkbox", checked: !off.has(i), change: () => {
      box.checked ? off.delete(i) : off.add(i);
      go({ hide: [...off].join(".") });
    } });
    box.style.accentColor = run.colour;
    parts.push(make("label", { class: "toggle" }, box, run.name));
  });
  if ((place.screen === "rollouts" || place.screen === "task") && several) {
    const select = make("select", { id: "source", "aria-label": "Run", change: () => go({ source: select.value, first: "", screen: "rollouts", trajectory: "" }) },
      ...sources.map((run, i) => make("option", { value: i }, run.name)));
    select.value = source();
    parts.push(select);
  }
  if (place.screen !== "curves") parts.push(...creditChooser(credit(), sources[source()], estimators, value => go({ credit: value })));
  $("choices").replaceChildren(...parts);
}
function tabs() {
  $("tabs").replaceChildren(...Object.entries(SCREENS).map(([name, words], i) => make("button", { type: "button", title: `${words} (${i + 1})`,
    "aria-current": name === place.screen ? "page" : "false", click: () => go({ screen: name }) }, words)));
}
function status() {
  const lines = known.sources.filter(s => s.kind === "run").map(s => {
    const done = s.metrics.at(-1)?.iteration ?? 0, old = Date.now() / 1000 - s.changed > OLD;
    return { live: done < s.planned && !old, words: `${known.sources.length > 1 ? s.name + ": " : ""}${whole(done)} of ${whole(s.planned)} iterations` };
  });
  const live = lines.filter(line => line.live);
  $("live").className = live.length && !SAVED ? "on" : "";
  $("live").textContent = SAVED ? `saved ${SAVED.when.slice(0, 16).replace("T", " ")} UTC`
    : lines.length > 2 ? `${live.length} of ${lines.length} runs are training` : lines.map(line => line.words).join(", ");
}

const screens = {
  async curves(screen, alive) {
    const off = hidden(), runs = known.sources.filter((s, i) => s.kind === "run" && !off.has(i));
    const files = known.sources.length - known.sources.filter(s => s.kind === "run").length;
    const pick = iteration => go({ screen: "rollouts", iteration: String(iteration), first: "", source: known.sources.indexOf(runs[0]) });
    const drawn = curves(runs, pick), standing = make("section", { id: "standing-out" }), parts = [standing];
    if (drawn.length) parts.push(make("p", {}, "A click on a chart shows the rollouts of that iteration."), make("div", { class: "charts" }, ...drawn));
    else parts.push(make("p", {}, files ? "Files of rollouts have no curves: see Rollouts." : "No iteration is finished yet."));
    for (const run of runs) if (run.evaluations.length)
      parts.push(make("h2", {}, runs.length > 1 ? `Held-out tasks: ${run.name}` : "Held-out tasks"), make("div", { class: "scroll" }, evaluationTable(run)));
    if (runs.length > 1) parts.push(make("h2", {}, "Settings that differ"), make("div", { class: "scroll" }, differences(runs)));
    for (const run of runs) parts.push(make("details", {}, make("summary", {}, `All settings of ${run.name}`), make("div", { class: "scroll" }, settingsTable(run.settings))));
    screen.replaceChildren(...parts);
    // What stands out in the credit of one run; of several, their own screens tell.
    if (known.sources.length === 1) await askAll("credit", { source: 0, credit: OWN }, answer => {
      if (!alive()) return false;
      const reading = answer.read < answer.batches;
      const found = reading ? [] : findings(answer, (type, from) => go({ ...suspects(type, from, from), screen: "rollouts" }));
      standing.replaceChildren(...(reading ? [make("small", {}, `Looking for credit that looks wrong: ${answer.read} of ${answer.batches} iterations read …`)]
        : found.length ? [make("strong", {}, "Credit that looks wrong"), ...found] : []));
    });
  },
  async rollouts(screen, alive) {
    const run = known.sources[source()], first = Number(place.first ?? 0) || 0, measure = place.measure || "success";
    const matrix = make("div"), form = make("div"), table = make("div"), pages = make("div");
    const change = changes => go({ ...changes, first: "" });
    const notes = run.kind === "run" && !run.keeps && run.iterations.length ? [make("p", {}, `This run keeps the rollouts of every ${run.sample_every}th iteration only; hgpo train --keep-rollouts keeps all.`)] : [];
    screen.replaceChildren(...notes, matrix, form, pages, table);
    form.replaceChildren(filters(place, [], change));
    let types = "";
    await Promise.all([
      askAll("rollouts", { source: source(), credit: credit(), first, count: PAGE, sort: place.sort, order: place.order,
        ...Object.fromEntries(FILTER_NAMES.map(name => [name, place[name]])) }, answer => {
        if (!alive()) return false;
        // The rows stay as they are while later answers only count on.
        const rows = JSON.stringify(answer.rows);
        if (table.dataset.rows !== rows) {
          table.dataset.rows = rows;
          table.replaceChildren(rolloutTable(answer, place, row => go({ screen: "task", source: source(), iteration_of_task: row.iteration, task_of: row.task, trajectory: row.trajectory, step: "" }),
            name => change({ sort: name, order: (place.sort || "iteration") === name && place.order !== "up" ? "up" : "" })));
        }
        pages.replaceChildren(pager(answer, first, place => go({ first: place || "" })));
      }),
      askAll("credit", { source: source(), credit: credit() }, answer => {
        if (!alive()) return false;
        matrix.replaceChildren(creditMatrix(answer, measure, value => go({ measure: value }),
          (type, from, to) => change(suspects(type, from, to))));
        if (types !== answer.types.join("\n") && !form.contains(document.activeElement)) form.replaceChildren(filters(place, answer.types, change));
        types = answer.types.join("\n");
      }),
    ]);
  },
  async task(screen, alive) {
    if (!place.trajectory && !place.task_of) {
      screen.replaceChildren(make("p", {}, "Choose a rollout first: in the table of rollouts, or by a click on a curve."));
      return;
    }
    const shown = make("div");
    await taskScreen(shown, { ...place, source: source(), iteration: place.iteration_of_task, task: place.task_of }, credit(), go);
    if (alive()) screen.replaceChildren(...shown.childNodes);
  },
  async compare(screen, alive) {
    await compareScreen(screen, place, known.sources, credit(),
      ({ iteration, task, ...changes }) => go({ ...changes, ...(task === undefined ? {} : { iteration_of_task: iteration, task_of: task }) }), alive);
  },
};
// The rollouts of a task type in some iterations, those whose credit is most against their success first.
const suspects = (type, from, to) => ({ type, iteration: from === to ? `${from}` : `${from}..${to}`, sort: "against", order: "" });
function differences(runs) {
  const names = [...new Set(runs.flatMap(run => Object.keys(run.settings)))].filter(name => new Set(runs.map(run => run.settings[name])).size > 1);
  return make("table", { class: "differs" }, make("tr", {}, make("th", {}, "setting"), ...runs.map(run => make("th", {}, run.name))),
    ...names.map(name => make("tr", {}, make("td", {}, name), ...runs.map(run => make("td", {}, run.settings[name] ?? "–")))));
}

async function render() {
  const mine = ++turn, alive = () => mine === turn;
  if (!place.screen) place.screen = known.sources.some(s => s.metrics.length) ? "curves" : "rollouts";
  document.title = `${known.sources.map(s => s.name).join(", ")} – hgpo view`;
  notice("");
  tabs(); choices(); status();
  forget("sources");
  try {
    await screens[place.screen]($("screen"), alive);
  } catch (error) {
    if (alive()) notice(error.message);
  }
  document.body.dataset.ready = String(turn);
}
function keep(answer) {
  known = answer;
  known.sources.forEach((run, i) => { run.colour = COLOURS[i % COLOURS.length]; });
}
async function follow() {
  try {
    if (document.visibilityState === "visible" && (await ask("version")).version !== known.version) {
      keep(await ask("sources"));
      status();
      // An episode that someone reads, or a field that someone fills in, stays.
      const busy = document.activeElement?.closest("input, select, dialog");
      if (!busy && (place.screen === "curves" || place.screen === "rollouts")) await render();
    }
    if ($("live").dataset.lost) { delete $("live").dataset.lost; notice(""); }
  } catch (error) {
    $("live").dataset.lost = "yes";
    $("live").className = "";
    notice(error.message);
  }
  setTimeout(follow, 1000 * SECONDS);
}

function neighbour(nodes, by) {
  const list = [...nodes], at = list.indexOf(document.activeElement?.closest("tr, details"));
  const next = list[at < 0 ? (by > 0 ? 0 : list.length - 1) : Math.min(list.length - 1, Math.max(0, at + by))];
  (next?.matches("details") ? next.querySelector("summary") : next)?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
const ACTIONS = {
  "/": () => { go({ screen: "rollouts" }); setTimeout(() => $("filter-text")?.focus(), 50); },
  j: () => neighbour(document.querySelectorAll(".rollouts tbody tr, .episode > details"), 1),
  k: () => neighbour(document.querySelectorAll(".rollouts tbody tr, .episode > details"), -1),
  n: () => document.querySelector("#next:not(:disabled), .trajectories button.chosen + button")?.click(),
  p: () => (document.querySelector("#previous:not(:disabled)") ?? document.querySelector(".trajectories button.chosen")?.previousElementSibling)?.click(),
  s: () => $("save").click(),
  "?": () => $("keys").showModal(),
  ...Object.fromEntries(Object.keys(SCREENS).map((name, i) => [String(i + 1), () => go({ screen: name })])),
};
document.addEventListener("keydown", event => {
  const typing = event.target.closest("input, select, textarea");
  if (typing && event.key === "Escape") typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in ACTIONS)) return;
  event.preventDefault();
  ACTIONS[event.key]();
});
window.addEventListener("hashchange", () => { if (!SAVED) { place = read(location.hash); render(); } });
$("help").addEventListener("click", () => $("keys").showModal());
$("keys").append(make("form", { method: "dialog" }, make("dl", {}, ...KEYS.flatMap(([key, words]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, words)])),
  make("button", {}, "Close")));
$("save").hidden = Boolean(SAVED);
$("save").addEventListener("click", () => saveView(`${known.sources[source()].name}-${place.screen}`, written(place)).catch(error => notice(error.message)));

ask("sources").then(async answer => {
  keep(answer);
  await render();
  if (!SAVED) follow();
}).catch(error => notice(error.message));
