// "Save this view": one file with this page and the answers that are on the screen, which opens offline.
import { onScreen } from "./data.js";

export async function saveView(name, place) {
  const page = await (await fetch("offline")).text();
  const content = { place, when: new Date().toISOString(), answers: onScreen() };
  // "<" is escaped, so that no text of a rollout can end the element that holds the answers.
  const text = JSON.stringify(content).replaceAll("<", "\\u003c");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([page.replace("/*DATA*/null", () => text)], { type: "text/html" }));
  link.download = `${name.replace(/[^\w.-]+/g, "-")}.html`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
