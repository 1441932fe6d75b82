// What runs measured: curves by iteration, held-out tasks, and where the time went.
import { COLOURS, make, percent, plain, swatch } from "./dom.js";
import { chart } from "./charts.js";

const asPercent = v => Math.round(100 * v) + " %";
const MANY = 3;
const DASHES = ["none", "5 3", "1 3", "8 3 2 3"];

// The mean of the last `window` values, or of fewer at the beginning.
function smoothed(points, window = 10) {
  return points.map((p, i) => {
    const last = points.slice(Math.max(0, i + 1 - window), i + 1);
    return [p[0], last.reduce((sum, q) => sum + q[1], 0) / last.length];
  });
}
const column = (run, name) => run.metrics.map(m => [m.iteration, m[name] ?? null]);
const measured = (run, name) => run.metrics.some(m => m[name] != null);
const named = (runs, begin) => [...new Set(runs.flatMap(run => Object.keys(run.metrics[0] ?? {})))]
  .filter(name => name.startsWith(begin));

// The lines of a chart: one run's by metric in colours, several runs' by run in colours and by metric in dashes.
function lines(runs, metrics) {
  const several = runs.length > 1, shown = Object.entries(metrics).filter(([name]) => runs.some(r => measured(r, name)));
  return runs.flatMap((run, number) => shown.filter(([name]) => measured(run, name)).map(([name, label], place) => ({
    name: !several ? label : shown.length > 1 ? `${run.name}: ${label}` : run.name,
    points: column(run, name), colour: several ? run.colour ?? COLOURS[number % COLOURS.length] : undefined,
    dashes: several ? DASHES[place % DASHES.length] : undefined })));
}
function success(runs) {
  const held = run => [...new Set(run.evaluations.filter(e => e.temperature === 0).map(e => e.split))];
  const points = (run, split) => run.evaluations.filter(e => e.temperature === 0 && e.split === split)
    .map(e => [e.iteration, e.success_rate]);
  return runs.flatMap((run, number) => {
    const several = runs.length > 1, before = several ? `${run.name}: ` : "";
    const colour = several ? run.colour ?? COLOURS[number % COLOURS.length] : COLOURS[0], training = column(run, "success_rate");
    return [
      ...(several ? [] : [{ name: "training rollouts", points: training, thin: true, colour }]),
      { name: several ? run.name : "mean of 10", points: smoothed(training), colour },
      // Held-out tasks of many runs would hide the rest; their tables have them.
      ...(runs.length > MANY ? [] : held(run)).map((split, i) => ({ name: `${before}${split}, greedy`, marks: true, points: points(run, split),
        colour: several ? colour : COLOURS[i + 1], dashes: several ? DASHES[1 + i % 3] : undefined })),
    ];
  });
}

// All charts of some runs; a click on one that is over iterations picks the iteration.
export function curves(runs, pick = null) {
  const levels = Object.fromEntries(named(runs, "peer_fraction_").map(k => [k, `level ${k.replace("peer_fraction_", "")}`]));
  const reasons = Object.fromEntries(named(runs, "invalid_").filter(k => runs.some(run => run.metrics.some(m => m[k])))
    .map(k => [k, plain(k.slice(8))]));
  const optional = (title, metrics, options) => {
    const series = lines(runs, metrics);
    return series.length ? [chart(title, series, { pick, ...options })] : [];
  };
  if (!runs.some(run => run.metrics.length)) return [];
  return [
    chart("Success", success(runs), { top: 1, format: asPercent, pick }),
    ...optional("Steps with a peer, by level, over the run", levels, { top: 1, format: asPercent }),
    ...optional("Steps per episode", { steps_mean: "steps" }),
    ...optional("Answers that are valid", { valid_action_rate: "valid" }, { top: 1, format: asPercent }),
    ...optional("Invalid answers per iteration, by reason", reasons),
    ...optional("Divergence and entropy per token, in nats", { kl: "KL to the reference", entropy: "entropy" }),
    ...optional("Answers, in nats", { answer_entropy: "entropy given the prompt", answer_information: "mutual information with the prompt" }),
    ...optional("Probability ratio, by the sign of the advantage", { ratio_positive: "positive", ratio_negative: "negative" }),
    ...optional("Tokens clipped, by the sign of the advantage", { clip_fraction_positive: "positive", clip_fraction_negative: "negative",
      masked_fraction: "rows masked" }, { format: v => (100 * v).toFixed(1) + " %" }),
    ...(runs.length === 1 ? [spent(runs[0])] : []),
  ];
}

function spent(run) {
  const parts = ["rollout", "advantages", "update"];
  const evaluated = run.evaluations.reduce((sum, e) => sum + (e.seconds ?? 0), 0);
  const totals = parts.map(p => run.metrics.reduce((sum, m) => sum + (m["seconds_" + p] ?? 0), 0)).concat(evaluated);
  const all = totals.reduce((a, b) => a + b, 0) || 1;
  const bar = make("svg", { viewBox: "0 0 420 40" }), key = make("div", { class: "key" });
  let from = 0;
  parts.concat("evaluation").forEach((p, i) => {
    bar.append(make("rect", { x: 420 * from / all, y: 8, width: 420 * totals[i] / all, height: 24, fill: COLOURS[i] }));
    from += totals[i];
    key.append(make("span", {}, swatch(COLOURS[i]), `${p} ${totals[i].toFixed(1)} s (${percent(totals[i] / all)})`));
  });
  return make("figure", {}, make("figcaption", {}, "Time"), bar, key);
}

// The results on held-out tasks after the last evaluation.
export function evaluationTable(run) {
  const last = Math.max(...run.evaluations.map(e => e.iteration));
  const final = run.evaluations.filter(e => e.iteration === last);
  const head = make("tr", {}, make("th", {}, `after iteration ${last}`));
  final.forEach(e => head.append(make("th", {}, `${e.split}, ${e.temperature ? "at " + e.temperature : "greedy"}`)));
  const table = make("table", {}, head);
  const row = (name, cell) => table.append(make("tr", {}, make("td", {}, name), ...final.map(e => make("td", {}, cell(e)))));
  row("all tasks", e => `${percent(e.success_rate)} (${e.interval_95.map(v => Math.round(100 * v)).join(" – ")})`);
  for (const kind of [...new Set(final.flatMap(e => Object.keys(e.by_kind)))].sort())
    row(plain(kind), e => e.by_kind[kind] ? `${e.by_kind[kind].won} of ${e.by_kind[kind].tasks}` : "–");
  row("steps per episode", e => e.mean_steps?.toFixed(1) ?? "–");
  row("valid answers", e => e.valid_action_rate == null ? "–" : percent(e.valid_action_rate));
  for (const reason of [...new Set(final.flatMap(e => Object.keys(e.invalid ?? {})))].sort())
    row(`invalid: ${plain(reason)}`, e => e.invalid?.[reason] ?? 0);
  return table;
}

// All settings of a run, by their dotted names.
export function settingsTable(settings) {
  return make("table", {}, ...Object.entries(settings).map(([name, value]) =>
    make("tr", {}, make("td", {}, name), make("td", {}, value))));
}
