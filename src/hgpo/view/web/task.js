// One rollout step by step, beside the group map of its task.
import { make, plain, whole } from "./dom.js";
import { groupMap, trajectoryButtons } from "./groupmap.js";
import { episode } from "./episode.js";
import { ask } from "./data.js";

// Shows a task; `state` names the source, iteration, task, rollout and step, and `go` changes it.
export async function taskScreen(screen, state, credit, go) {
  const { source, iteration, task: name, trajectory } = state;
  const answer = await ask("task", { source, iteration, task: name, credit, trajectory });
  const { task, won } = answer;
  const number = Math.max(0, task.trajectories.findIndex(t => t.id === trajectory)), id = task.trajectories[number].id;
  const answers = await ask("answers", { source, iteration, trajectory: id });
  const rows = task.trajectories[number].rows, at = state.step === undefined || state.step === "" ? null : rows[Number(state.step)] ?? null;
  const found = groupMap(answer, row => {
    const of = task.trajectories[task.rows[row].trajectory];
    go({ trajectory: of.id, step: task.rows[row].step });
  });
  found.chooseTrajectory(number);
  if (at !== null) found.chooseStep(at);
  const choose = place => go({ trajectory: task.trajectories[place].id, step: "" });
  const wins = won.filter(Boolean).length, marked = rows.filter(row => task.rows[row].against).length;
  screen.replaceChildren(
    make("h1", {}, answer.instruction || answer.name, make("small", {}, ` ${[plain(answer.type), `iteration ${whole(answer.iteration)}`, answer.instruction ? answer.name : ""].filter(Boolean).join(" · ")}`)),
    make("p", {}, `${wins} of ${won.length} rollouts won.`, marked ? make("span", { class: "warning" }, ` ⚠ ${marked} of the ${rows.length} steps of this rollout have an advantage against every comparison.`) : ""),
    make("div", { class: "trajectories" }, ...trajectoryButtons(task, number, won, choose)),
    make("div", { class: "split even" },
      make("section", { class: "episode" }, make("h2", {}, `Rollout ${number + 1}`),
        make("p", {}, `${id}: ${won[number] ? "won" : "lost"}, ${rows.length} steps, reward ${task.trajectories[number].reward.toFixed(2)}`),
        ...episode(task, number, answers, { placeOf: row => rows.indexOf(row), chosen: at, onStep: row => go({ trajectory: task.trajectories[task.rows[row].trajectory].id, step: task.rows[row].step }) })),
      make("section", { class: "follows" }, make("h2", {}, "Group map"), found.key, found.map,
        make("p", {}, at === null ? "Open a step, or choose a state, to see with whom it is compared." : `With whom step ${Number(state.step) + 1} is compared:`), found.detail)));
}
