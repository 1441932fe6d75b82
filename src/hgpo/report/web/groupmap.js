// The group map: the states of one task as a graph, and with whom the steps in a state are compared.
import { colourOf, make, mean, signed, swatch } from "./dom.js";

// A step of a rollout with its advantage; a click chooses the step.
export function chip(task, number, choose, mark = "") {
  const row = task.rows[number], sign = row.advantage > 0 ? " better" : row.advantage < 0 ? " worse" : "";
  return make("button", { class: "chip" + sign, type: "button", "data-row": number, click: event => { event.preventDefault(); choose(number); },
    title: `rollout ${row.trajectory + 1}, step ${row.step + 1}: return ${row.return.toFixed(2)}, advantage ${signed(row.advantage)}` },
    `${row.trajectory + 1}/${row.step + 1} ${signed(row.advantage)}${row.against ? " ⚠" : ""}${mark}`);
}
export const largestOf = task => Math.max(1e-9, ...task.rows.map(row => Math.abs(row.advantage)));

// The map of a task of an answer { levels, pooled, task }, with its key, and the details of the chosen state.
// A chosen step is marked in both; `onStep` hears of steps that are chosen in the details, `onState` of states.
export function groupMap(answer, onStep = () => {}, onState = () => {}) {
  const task = answer.task, largest = largestOf(task);
  const map = make("div", { class: "map" }), detail = make("div", { class: "detail" });
  const key = make("div", { class: "key" },
    make("span", {}, swatch("var(--good)"), `better than its peers (full colour: ±${largest.toFixed(2)})`),
    make("span", {}, swatch("var(--mid)"), "like them"), make("span", {}, swatch("var(--bad)"), "worse"));
  let state = task.states.reduce((best, s, i) => s.visits > task.states[best].visits ? i : best, 0);
  let trajectory = null, step = null;

  function drawMap() {
    const layers = Math.max(...task.states.map(s => s.layer)) + 1;
    const widest = Math.max(...Array.from({ length: layers }, (_, l) => task.states.filter(s => s.layer === l).length));
    const W = Math.max(560, 76 * layers), H = Math.max(300, 30 * widest), pad = 26;
    const at = s => [pad + (W - 2 * pad) * (layers > 1 ? s.layer / (layers - 1) : .5), pad + (H - 2 * pad) * s.height];
    const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "group map" });
    svg.style.minWidth = `${Math.max(544, W * .8)}px`;
    const taken = new Set();
    if (trajectory !== null) {
      const states = task.trajectories[trajectory].rows.map(r => task.rows[r].state);
      states.slice(1).forEach((s, i) => taken.add(`${states[i]}-${s}`));
    }
    for (const e of task.edges) {
      const [x1, y1] = at(task.states[e.from]), [x2, y2] = at(task.states[e.to]);
      const back = x2 <= x1, bow = back ? -24 - Math.abs(x1 - x2) / 6 : 0;
      const d = e.from === e.to ? `M${x1} ${y1}c-22 -30 22 -30 0 0`
        : `M${x1} ${y1}C${x1 + (x2 - x1) / 2} ${y1 + bow} ${x1 + (x2 - x1) / 2} ${y2 + bow} ${x2} ${y2}`;
      svg.append(make("path", { d, stroke: colourOf(e.advantage, largest), "stroke-width": 1 + 1.6 * Math.log2(e.count),
        opacity: .65, class: taken.has(`${e.from}-${e.to}`) ? "taken" : "" },
        make("title", {}, `${e.count} times, mean advantage ${signed(e.advantage)}`)));
    }
    task.states.forEach((s, i) => {
      const [cx, cy] = at(s), choose = () => { step = null; chooseState(i); onState(i); };
      svg.append(make("circle", { cx, cy, r: 5 + 2.2 * Math.log2(s.visits), fill: colourOf(s.advantage, largest),
        class: i === state ? "chosen" : "", tabindex: 0, role: "button", "data-state": i, click: choose,
        keydown: event => { if (event.key === "Enter") choose(); } },
        make("title", {}, `${s.visits} visits, mean advantage ${signed(s.advantage)}\n${task.texts[s.observation]}`)));
    });
    map.replaceChildren(svg);
  }
  function values(rows) {
    // V: the mean of what is compared; Q: its mean for each action, the most tried first. Invalid ones are one.
    const actions = new Map();
    rows.forEach(i => { const a = task.rows[i].same_action; actions.set(a, [...(actions.get(a) ?? []), i]); });
    const of = members => mean(members.map(i => task.rows[i].return)).toFixed(2);
    const table = make("table", { class: "values" }, make("tr", {}, ...["action", "times", "Q", "advantage"].map(h => make("th", {}, h))));
    [...actions.values()].sort((a, b) => b.length - a.length).slice(0, 12).forEach(members => {
      const first = task.rows[members[0]];
      const name = first.valid ? task.texts[first.action] || "…" : "(not valid)";
      table.append(make("tr", {}, make("td", {}, name), make("td", {}, members.length), make("td", {}, of(members)),
        make("td", {}, signed(mean(members.map(i => task.rows[i].advantage))))));
    });
    const left = actions.size - 12;
    return make("details", {}, make("summary", {}, `V ${of(rows)}, ${actions.size} action${actions.size > 1 ? "s" : ""}` +
      (left > 0 ? `, the ${left} rarest not shown` : "")), make("div", { class: "scroll" }, table));
  }
  function showState() {
    const members = [...task.rows.keys()].filter(i => task.rows[i].state === state);
    const here = values(members);
    here.open = step === null;
    detail.replaceChildren(make("strong", {}, `State with ${task.states[state].visits} visits`),
      make("pre", {}, task.texts[task.states[state].observation]), here);
    if (!answer.levels.length) detail.append(make("p", {}, "Steps are not compared with one another."));
    answer.levels.forEach(({ name, meaning }, level) => {
      const groupOf = i => task.rows[i].groups[level];
      const ids = new Set((step === null ? members : [step]).map(groupOf).filter(id => id >= 0));
      // A group may reach beyond this state, where near states count as the same, and beyond this task.
      const groups = [...ids].map(id => [...task.rows.keys()].filter(i => groupOf(i) === id));
      const box = make("div", { class: "level" }, make("div", {}, `Level ${name}: ${meaning}`));
      groups.sort((a, b) => b.length - a.length).forEach(rows => {
        const peers = Math.max(...rows.map(i => task.rows[i].peers[level]));
        const group = make("div", {}, make("small", {}, peers ? `${rows.length} compared: ` : "no peer: "));
        const shown = [...rows].sort((a, b) => (b === step) - (a === step)).slice(0, 24);
        for (const i of shown) {
          const mark = chip(task, i, onStep);
          mark.classList.toggle("here", i === step);
          group.append(mark);
        }
        if (rows.length > 24) group.append(make("small", {}, ` and ${rows.length - 24} more`));
        if (peers) group.append(values(rows));
        if (peers >= rows.length) group.append(make("small", {}, ", with steps of other tasks"));
        box.append(group);
      });
      if (!groups.length) box.append(make("small", {}, answer.pooled ? "only one action was tried here"
        : `no step here ${step === null ? "" : "(or not this one) "}has so long a history`));
      detail.append(box);
    });
  }
  function chooseState(number) { state = number; drawMap(); showState(); }
  drawMap(); showState();
  return {
    map, detail, key, chooseState,
    chooseTrajectory(number) { trajectory = number; drawMap(); },
    chooseStep(number) { step = number; chooseState(task.rows[number].state); },
  };
}

// One button per rollout of the task.
export function trajectoryButtons(task, chosen, won, choose) {
  return task.trajectories.map((t, i) => make("button", { class: i === chosen ? "chosen" : "", type: "button",
    "aria-pressed": String(i === chosen), click: () => choose(i) },
    `${won ? (won[i] ? "✓ " : "✗ ") : ""}${i + 1}`, make("span", { class: "wide-only" }, `: ${t.rows.length} steps, reward ${t.reward.toFixed(1)}`)));
}
