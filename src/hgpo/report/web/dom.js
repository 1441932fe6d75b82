// Elements, numbers and colours. Texts enter the page as text nodes only, so that none of them is read as HTML.
const SVG = new Set(["svg", "g", "path", "circle", "line", "rect", "text", "title"]);
export const COLOURS = Array.from({ length: 8 }, (_, i) => `var(--line-${i})`);

// An element with attributes; a function is a listener of the event that it is named after.
export function make(tag, attributes = {}, ...children) {
  const node = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (typeof value === "boolean") node.toggleAttribute(name, value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}
export const $ = id => document.getElementById(id);
export const percent = value => value === null || value === undefined ? "–" : (100 * value).toFixed(1) + " %";
export const signed = value => value === null || value === undefined ? "–" : (value > 0 ? "+" : "") + value.toFixed(2);
export const plain = value => value.replaceAll("_", " ");
export const whole = value => value.toLocaleString("en");
export const mean = numbers => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

// From the colour of the worst over the middle to the colour of the best; the largest advantage has the full colour.
export function colourOf(advantage, largest) {
  if (!advantage) return "var(--mid)";
  const share = Math.min(1, Math.abs(advantage) / Math.max(1e-9, largest)) ** .5;
  return `color-mix(in oklab, var(${advantage > 0 ? "--good" : "--bad"}) ${Math.round(25 + 75 * share)}%, var(--mid))`;
}
export function swatch(colour) {
  const mark = make("i");
  mark.style.background = colour;
  return mark;
}
