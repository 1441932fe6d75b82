// An episode step by step: what the agent read and answered, and what each step got.
import { make, plain, signed } from "./dom.js";
import { chip } from "./groupmap.js";

// The tokens of an answer, the more coloured the less probable they were.
export function tokens(pieces, logprobs) {
  const box = make("pre", { class: "tokens" });
  pieces.forEach((piece, i) => {
    const span = make("span", {}, piece), logprob = logprobs?.[i];
    if (logprob !== undefined && logprob !== null) {
      const rare = Math.round(75 * (1 - Math.exp(logprob)));
      if (rare > 0) span.style.background = `color-mix(in oklab, var(--rare) ${rare}%, transparent)`;
      span.title = `log-probability ${logprob.toFixed(3)}, probability ${(100 * Math.exp(logprob)).toPrecision(3)} %`;
    }
    box.append(span);
  });
  return box;
}
function answered(answers, place) {
  const parts = [];
  if (answers?.prompt) parts.push(make("small", {}, "prompt"), make("pre", {}, answers.prompts[answers.prompt[place]]));
  if (answers?.pieces) parts.push(make("small", {}, "response" + (answers.logprobs ? ", tokens coloured by how improbable they were" : "")),
    tokens(answers.pieces[place], answers.logprobs?.[place]));
  else if (answers?.response) parts.push(make("small", {}, "response"), make("pre", {}, answers.response[place]));
  return parts;
}

// The steps of a rollout of a task. `placeOf` gives a row's place in the answers; `onStep` hears which step was
// opened, and `chosen` is the one that is open.
export function episode(task, number, answers, { placeOf = row => row, onStep = () => {}, chosen = null } = {}) {
  return task.trajectories[number].rows.map(at => {
    const row = task.rows[at], peers = row.groups.map((id, level) => id < 0 ? "–" : row.peers[level]);
    const mark = row.valid ? "" : ` · not valid: ${plain(row.invalid || "not admissible")}`;
    const node = make("details", { "data-row": at, open: at === chosen, class: at === chosen ? "step-here" : "" },
      make("summary", {}, `${row.step + 1}. ${task.texts[row.action] || "…"} `, chip(task, at, onStep, mark)),
      make("small", {}, `reward ${row.reward.toFixed(2)}, return ${row.return.toFixed(2)}, advantage ` +
        signed(row.advantage) + (peers.length ? `, peers by level: ${peers.join(", ")}` : "")),
      row.against ? make("p", { class: "warning" }, "⚠ The advantage has the opposite sign of every comparison: its return is " +
        (row.advantage < 0 ? "above the mean of its peers, and yet it is discouraged." : "below the mean of its peers, and yet it is encouraged.")) : null,
      make("pre", {}, task.texts[row.observation]), ...answered(answers, placeOf(at)));
    node.addEventListener("toggle", () => { if (node.open && at !== chosen) onStep(at); });
    return node;
  });
}
