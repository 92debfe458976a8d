// A window of a log. Only what is looked at is asked for: a log may have a
// gigabyte.

import { get, one } from "./api.js";
import { clear, empty, h, number } from "./dom.js";

const WINDOW = 65536;
const LEVEL = /\b(CRITICAL|FATAL|ERROR|WARN(?:ING)?)\b|^(\w*Error|\w*Exception|Traceback)\b/;

export function logTab({ id, asked, experiment }) {
  const line = Number(asked.get("line")) || null;
  const files = ["experiment.log", "error.log"].filter((name) => experiment.files[name] !== null);
  let at = { file: asked.get("file") ?? files[0] ?? "experiment.log", line };
  let shown = null;
  let turn = 0;
  const where = h("span", { class: "dim small", role: "status" });
  const text = h("div", { class: "log", tabindex: "0", role: "log", "aria-label": "The log", "aria-live": "off" });
  const follow = h("input", { type: "checkbox", checked: !line });
  const goto = h("input", { type: "number", min: "1", inputmode: "numeric", "aria-label": "Line" });

  const button = (label, to) => h("button", { type: "button", onclick: () => go(to()) }, label);
  const form = h("form", { class: "filters" },
    files.length > 1 ? h("label", null, "File ", h("select", { onchange: (event) => go({ file: event.target.value, from: event.target.value === "experiment.log" ? -WINDOW : 0 }) }, files.map((name) => h("option", { selected: name === at.file }, name)))) : null,
    button("Start", () => ({ from: 0 })),
    button("Earlier", () => ({ from: Math.max(0, (shown?.from ?? 0) - WINDOW), length: Math.min(WINDOW, shown?.from || WINDOW) })),
    button("Later", () => ({ from: Math.max(0, Math.min(shown?.to ?? 0, (shown?.size ?? 0) - 1)) })),
    button("End", () => ({ from: -WINDOW })),
    h("label", null, "Line ", goto), h("button", { type: "submit" }, "Go"),
    h("label", { class: "check" }, follow, " follow"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (goto.value) go({ line: Number(goto.value) });
  });

  async function go(to) {
    at = { file: at.file, ...to };
    follow.checked = to.from < 0;
    await load();
  }

  async function load() {
    if (files.length === 0) {
      clear(text, empty("There is no log yet."));
      return;
    }
    const mine = ++turn;
    const found = await get(`/api/experiments/${one(id)}/log`, at.line ? { length: WINDOW, ...at } : { from: -WINDOW, length: WINDOW, ...at });
    // An answer that was overtaken says nothing.
    if (mine !== turn) return;
    shown = found;
    where.textContent = `${number(shown.from)}–${number(shown.to)} of ${number(shown.size)} bytes`;
    const lines = shown.text.replace(/\n$/, "").split("\n");
    clear(text, h("ol", { start: shown.first_line ?? undefined }, lines.map((content, index) => {
      const number = shown.first_line ? shown.first_line + index : null;
      const level = content.match(LEVEL)?.[0];
      const is = number !== null && number === at.line;
      const classes = [level ? (level.startsWith("WARN") ? "warning" : "error") : "", is ? "target" : ""].join(" ").trim();
      return h("li", { class: classes || null, "aria-current": is ? "true" : null }, h("span", { class: "line-number", "aria-hidden": "true" }, number ?? "·"), h("span", { class: "line-text" }, content));
    })));
    const target = text.querySelector(".target");
    if (target) target.scrollIntoView({ block: "center" });
    else if (at.from < 0 || at.from === undefined) text.scrollTop = text.scrollHeight;
    else text.scrollTop = 0;
  }

  return {
    element: h("div", null, form, where, text),
    async refresh() {
      // What somebody reads stays where it is.
      if (!shown || follow.checked) await load();
    },
  };
}
