// Two runs, or two iterations of one, on the same task.
import { make, mean, signed } from "./dom.js";
import { groupMap, trajectoryButtons } from "./groupmap.js";
import { ask, askAll } from "./data.js";

const short = (text, length = 160) => text.length > length ? text.slice(0, length - 1) + "…" : text;

export async function compareScreen(screen, state, sources, credit, go, alive) {
  const first = Number(state.first ?? 0), second = Number(state.second ?? Math.min(1, sources.length - 1));
  const reading = make("small", { id: "reading" }, "reading …"), content = make("div");
  const select = (label, name, forgets) => {
    const node = make("select", { "aria-label": label, id: `compare-${name}`,
      change: () => go({ [name]: node.value, ...Object.fromEntries(forgets.map(other => [other, ""])) }) });
    return node;
  };
  const fill = (node, options, value) => {
    node.replaceChildren(...options.map(([v, words]) => make("option", { value: v }, words)));
    node.value = value;
  };
  const runA = select("run A", "first", ["pair", "one", "other"]), runB = select("run B", "second", ["pair", "one", "other"]);
  const tasks = select("task", "pair", ["one", "other"]), ofA = select("iteration of A", "one", []), ofB = select("iteration of B", "other", []);
  for (const [node, value] of [[runA, first], [runB, second]]) fill(node, sources.map((s, i) => [i, s.name]), value);
  screen.replaceChildren(make("form", { class: "filters" }, ...[runA, runB, tasks, ofA, ofB].map(node => make("label", {}, node.getAttribute("aria-label"), node))), reading, content);

  async function draw(pair) {
    const one = Number(state.one || pair.first.at(first === second ? 0 : -1)), other = Number(state.other || pair.second.at(-1));
    fill(ofA, pair.first.map(i => [i, i]), one);
    fill(ofB, pair.second.map(i => [i, i]), other);
    const [a, b] = await Promise.all([[first, one], [second, other]].map(([source, iteration]) => ask("task", { source, iteration, task: pair.task, credit })));
    if (!alive()) return;
    content.replaceChildren(make("h1", {}, a.instruction || pair.task),
      make("div", { class: "split even" }, side("A", sources[first].name, first, a, pair.task, go), side("B", sources[second].name, second, b, pair.task, go)),
      make("h2", {}, "The same states in both"),
      make("p", {}, "States with the same observation. V is the mean of what is compared there, in A and in B; the last columns have the action that was tried most."),
      make("div", { class: "scroll" }, states(a.task, b.task)));
  }
  // The first pair that is found is drawn; the list of tasks grows while more iterations are read.
  let drawn = null;
  await askAll("common", { first, second, credit }, answer => {
    if (!alive()) return false;
    const pair = answer.tasks.find(c => c.task === state.pair) ?? (state.pair && answer.read < answer.batches ? null : answer.tasks[0]);
    if (pair && !drawn) drawn = draw(pair);
    if (document.activeElement !== tasks) fill(tasks, answer.tasks.map(c => [c.task, c.task]), (state.pair || pair?.task) ?? "");
    reading.textContent = answer.read < answer.batches ? `${answer.read} of ${answer.batches} iterations read …`
      : answer.tasks.length ? `${answer.tasks.length} tasks in common` : first === second
        ? "No task of this run was tried in two iterations. Two runs with the same seed have the same tasks: hgpo view RUN RUN."
        : "These two have no task in common. Runs with the same seed have the same tasks, in the iterations that both have kept.";
  });
  await drawn;
}
function side(letter, name, source, answer, task, go) {
  const wins = answer.won.filter(Boolean).length;
  const open = row => go({ screen: "task", source, iteration: answer.iteration, task, trajectory: answer.task.trajectories[answer.task.rows[row].trajectory].id, step: answer.task.rows[row].step });
  const found = groupMap(answer, open);
  return make("section", {}, make("h2", {}, `${letter}: ${name}, iteration ${answer.iteration}`),
    make("p", {}, `${wins} of ${answer.won.length} won, ${(mean(answer.task.trajectories.map(t => t.rows.length))).toFixed(1)} steps on average`),
    found.key, found.map, make("div", { class: "trajectories" }, ...trajectoryButtons(answer.task, null, answer.won, i => open(answer.task.trajectories[i].rows[0]))),
    make("details", {}, make("summary", {}, "The chosen state: with whom its steps are compared"), found.detail));
}
function states(a, b) {
  const seen = new Map();
  [a, b].forEach((task, side) => task.rows.forEach(row => {
    const text = task.texts[row.observation];
    if (!seen.has(text)) seen.set(text, [[], []]);
    seen.get(text)[side].push({ ...row, words: row.valid ? task.texts[row.action] : "(not valid)" });
  }));
  const most = rows => {
    const times = new Map();
    rows.forEach(row => times.set(row.words, (times.get(row.words) ?? 0) + 1));
    const [action, count] = [...times].reduce((best, now) => now[1] > best[1] ? now : best);
    return `${action} (${Math.round(100 * count / rows.length)} %)`;
  };
  const cell = (rows, of) => make("td", {}, rows.length ? of(rows) : "–");
  const ordered = [...seen].sort(([, x], [, y]) => y[0].length + y[1].length - x[0].length - x[1].length).slice(0, 60);
  const table = make("table", { class: "both" }, make("tr", {}, ...["state", "visits A", "visits B", "V in A", "V in B", "advantage A", "advantage B", "most tried in A", "most tried in B"].map(h => make("th", {}, h))),
    ...ordered.map(([text, [x, y]]) => make("tr", {}, make("td", {}, short(text)), make("td", {}, x.length), make("td", {}, y.length),
      ...[x, y].map(rows => cell(rows, r => mean(r.map(row => row.return)).toFixed(2))), ...[x, y].map(rows => cell(rows, r => signed(mean(r.map(row => row.advantage))))),
      ...[x, y].map(rows => cell(rows, most)))));
  return table;
}
