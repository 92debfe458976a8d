import { get, one } from "./api.js";
import { badge, clear, empty, h, number, plural } from "./dom.js";

const TYPING = 200;

export function predictionsTab({ id, experiment, asked }) {
  const want = { failed: asked.get("failed") === "true", q: "", page: 1 };
  const list = h("div");
  let typing = null;
  let turn = 0;

  const filters = h("form", { class: "filters", role: "search" },
    h("label", null, "Filter ", h("input", {
      type: "search", placeholder: "question or answer",
      oninput: (event) => {
        clearTimeout(typing);
        typing = setTimeout(() => change({ q: event.target.value }), TYPING);
      },
    })),
    h("label", { class: "check" }, h("input", { type: "checkbox", checked: want.failed, onchange: (event) => change({ failed: event.target.checked }) }), " only those that failed"));
  filters.addEventListener("submit", (event) => event.preventDefault());

  function change(more) {
    Object.assign(want, { page: 1 }, more);
    return load();
  }

  async function load() {
    const mine = ++turn;
    const page = await get(`/api/experiments/${one(id)}/predictions`, { ...want, per_page: 50 });
    // An answer that was overtaken says nothing.
    if (mine !== turn) return;
    const open = new Set([...list.querySelectorAll("details[open]")].map((part) => part.dataset.key));
    if (page.total === 0) {
      clear(list, want.failed ? empty("No question failed.") : want.q ? empty("Nothing fits the filter.") : empty("There is no answer yet.", experiment.phase === "failed" ? "The experiment failed before its first one." : ""));
      return;
    }
    const last = Math.ceil(page.total / page.per_page);
    clear(list, h("ul", { class: "kinds" }, page.items.map((record) => prediction(record, open))),
      h("nav", { class: "pages", "aria-label": "Pages" },
        h("button", { type: "button", disabled: page.page <= 1, onclick: () => change({ page: page.page - 1 }) }, "Previous"),
        h("span", null, `Page ${page.page} of ${last}, ${plural(page.total, "question")}`),
        h("button", { type: "button", disabled: page.page >= last, onclick: () => change({ page: page.page + 1 }) }, "Next")));
  }

  return { element: h("div", null, filters, list), refresh: load };
}

function prediction(record, open) {
  const key = String(record.idx);
  const scores = Object.entries(record.metrics ?? {}).filter(([, value]) => typeof value === "number");
  return h("li", null, h("details", { "data-key": key, open: open.has(key) },
    h("summary", null, h("span", { class: "dim" }, `#${record.idx} `), h("span", { class: "message" }, record.question), " → ",
      record.error ? badge(record.aborted ? "aborted" : record.failure_class ?? "failed", "failed", record.error) : h("strong", null, record.prediction || "(nothing)"),
      scores.slice(0, 1).map(([name, value]) => h("span", { class: "dim small" }, ` ${name} ${value.toFixed(2)}`))),
    h("dl", { class: "facts wide" },
      fact("Expected", record.expected?.join(" | ")),
      fact(record.error ? "Instead" : "Answer", record.prediction),
      fact("Error", record.error),
      fact("Scores", scores.map(([name, value]) => `${name} ${value.toFixed(3)}`).join(", ")),
      fact("Passages", record.retrieved?.map((passage) => `${passage.id} (${passage.score.toFixed(2)})`).join(", ")),
      fact("Cost", `${number(record.tokens_in ?? 0)} tokens in, ${number(record.tokens_out ?? 0)} out, batch of ${record.batch_size}, ${number(record.latency_ms ?? 0)} ms`)),
    record.prompt ? [h("h3", null, "Prompt"), h("pre", { tabindex: "0", "aria-label": "Prompt" }, record.prompt)] : null));
}

function fact(label, value) {
  return value ? h("div", null, h("dt", null, label), h("dd", null, value)) : null;
}
