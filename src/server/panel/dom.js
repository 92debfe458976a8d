// Elements from data. Text only ever becomes text nodes and attributes, never
// markup: a log may hold anything.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

export function clear(element, ...children) {
  element.replaceChildren();
  return fill(element, null, children);
}

/** Tells screen readers, and whoever looks, what just happened. */
export function announce(text) {
  const status = document.getElementById("status");
  status.textContent = "";
  status.textContent = text;
  document.querySelector(".toast")?.remove();
  const toast = h("div", { class: "toast", "aria-hidden": "true" }, text);
  document.body.append(toast);
  setTimeout(() => toast.remove(), 2500);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure context there is only the old way.
    const area = h("textarea", { class: "visually-hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  announce(`Copied ${what}`);
}

export const number = (value) => value.toLocaleString("en");

export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** 2 min ago; the exact time is in the title. */
export function ago(time) {
  if (!time) return h("span", { class: "dim" }, "–");
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  const steps = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [Infinity, 86400, "d"]];
  const [, unit, name] = steps.find(([below]) => seconds < below);
  return h("time", { datetime: time, title: time }, `${Math.floor(seconds / unit)} ${name} ago`);
}

export function badge(text, kind, title) {
  return h("span", { class: `badge ${kind}`, title }, text);
}

/** A bar of parts: [[count, kind, label], ...] of a whole. */
export function bar(parts, total, label) {
  const shown = h("span", { class: "bar", role: "img", "aria-label": label, title: label });
  for (const [count, kind] of parts) {
    if (!count) continue;
    const part = h("span", { class: `part ${kind}` });
    part.style.width = `${(100 * count) / Math.max(total, 1)}%`;
    shown.append(part);
  }
  return shown;
}

export function loading(what) {
  return h("p", { class: "loading", role: "status" }, `Loading ${what} …`);
}

export function empty(title, ...hint) {
  return h("div", { class: "empty" }, h("p", { class: "lead" }, title), h("p", null, ...hint));
}
