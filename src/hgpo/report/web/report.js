// The report of a run: curves, held-out tasks, and some task groups of its last sample.
import { $, make, whole } from "./dom.js";
import { chart } from "./charts.js";
import { curves, evaluationTable, settingsTable } from "./curves.js";
import { groupMap, trajectoryButtons } from "./groupmap.js";
import { episode } from "./episode.js";

const RUN = JSON.parse($("data").textContent), SAMPLE = RUN.sample;

function sampled() {
  const { counts, edges } = SAMPLE.histogram;
  return [
    chart(`Advantages in iteration ${SAMPLE.iteration}`,
      [{ name: "steps", bars: .9 / counts.length, points: counts.map((c, i) => [(edges[i] + edges[i + 1]) / 2, c]) }],
      { x: "advantage", format: v => String(Math.round(v)) }),
    chart(`Group sizes in iteration ${SAMPLE.iteration}: steps in a group of so many or more`,
      SAMPLE.levels.map(level => ({ name: `level ${level.name}`, marks: true,
        points: level.sizes.map(([n, share]) => [Math.log2(n), share]) })),
      { top: 1, format: v => Math.round(100 * v) + " %", x: "steps in the group", label: v => String(Math.round(2 ** v)) }),
  ];
}
function showTask(task) {
  const answer = { levels: SAMPLE.levels, pooled: SAMPLE.pooled, task };
  const found = groupMap(answer, number => {
    const { trajectory } = task.rows[number];
    if (trajectory !== chosen) chooseTrajectory(trajectory);
    found.chooseStep(number);
  });
  let chosen = null;
  function chooseTrajectory(number) {
    chosen = chosen === number ? null : number;
    found.chooseTrajectory(chosen);
    show();
  }
  function show() {
    $("trajectories").replaceChildren(...trajectoryButtons(task, chosen, null, chooseTrajectory));
    $("episode").replaceChildren(...(chosen === null ? [make("p", {}, "Choose a rollout above.")]
      : [make("p", {}, task.trajectories[chosen].id), ...episode(task, chosen, task.answers, { onStep: found.chooseStep })]));
  }
  $("mapkey").replaceChildren(...found.key.childNodes);
  $("map").replaceChildren(found.map);
  $("detail").replaceChildren(found.detail);
  show();
}

document.title = RUN.name + " – hgpo report";
$("name").textContent = RUN.name;
$("lead").textContent = `${RUN.settings.estimator ?? ""} on ${RUN.suite ?? RUN.settings.env ?? ""}, seed ${RUN.settings.seed}, ` +
  `${RUN.metrics.length} iterations, ${whole(RUN.metrics.reduce((s, m) => s + m.environment_steps, 0))} environment steps`;
$("charts").append(...curves([RUN]), ...(SAMPLE ? sampled() : []));
if (RUN.evaluations.length) $("evaluations").append(evaluationTable(RUN));
if (SAMPLE) {
  $("compared").textContent = SAMPLE.pooled ? "of reward and discounted value of what followed" : "return";
  SAMPLE.tasks.forEach((t, i) => $("task").append(make("option", { value: i }, t.id)));
  $("task").addEventListener("change", e => showTask(SAMPLE.tasks[Number(e.target.value)]));
  showTask(SAMPLE.tasks[0]);
} else $("sample").hidden = true;
$("settings").append(settingsTable(RUN.settings));
