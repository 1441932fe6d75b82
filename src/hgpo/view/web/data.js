// The page's data: questions to the server or, in a saved view, the answers that were saved.
import { $ } from "./dom.js";

// What a saved view holds: the place in the page, the answers that it showed, and when it was saved.
export const SAVED = JSON.parse($("data")?.textContent ?? "null");
const used = new Map();

// Forgets which answers are on the screen, apart from that to `question`.
export function forget(question) {
  for (const key of used.keys()) if (key !== address(question, {})) used.delete(key);
}
export const onScreen = () => Object.fromEntries(used);

function address(question, asked) {
  const given = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  query.sort();
  return `${question}?${query}`;
}
export async function ask(question, asked = {}) {
  const key = address(question, asked);
  if (SAVED) {
    if (!(key in SAVED.answers)) throw new Error("This saved view holds only what was on the screen when it was saved.");
    return SAVED.answers[key];
  }
  let response, answer;
  try {
    response = await fetch(`api/${key}`);
    answer = await response.json();
  } catch {
    throw new Error("hgpo view does not answer: it may have ended.");
  }
  if (!response.ok) throw new Error(answer.error);
  used.set(key, answer);
  return answer;
}
// Asks until all batches are read; `show` gets every answer, and returns false when nobody waits for more.
export async function askAll(question, asked, show) {
  for (;;) {
    const answer = await ask(question, asked);
    if (show(answer) === false || answer.read >= answer.batches) return;
  }
}
