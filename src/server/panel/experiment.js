import { get, one, text } from "./api.js";
import { ago, clear, copy, h } from "./dom.js";
import { errorsTab } from "./errors.js";
import { logTab } from "./log.js";
import { predictionsTab } from "./predictions.js";
import { phaseBadge, questions } from "./study.js";

const TABS = [["errors", "Errors", errorsTab], ["predictions", "Predictions", predictionsTab], ["log", "Log", logTab], ["details", "Details", detailsTab]];

export function experimentView(id, asked) {
  const cut = id.lastIndexOf("/");
  const study = id.slice(0, Math.max(cut, 0));
  const name = id.slice(cut + 1);
  const head = h("div", { class: "summary" });
  const panel = h("div", { id: "panel", role: "tabpanel", tabindex: "0" });
  let current = asked.get("tab");
  let tab = null;
  let experiment = null;

  const buttons = TABS.map(([key, label]) =>
    h("button", { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": "panel", onclick: () => open(key) }, label));
  const tabs = h("div", { class: "tabs", role: "tablist", "aria-label": "What to show" }, buttons);
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    const next = (at + step + TABS.length) % TABS.length;
    buttons[next].focus();
    open(TABS[next][0]);
  });

  function mark() {
    TABS.forEach(([key], index) => {
      const is = key === current;
      buttons[index].setAttribute("aria-selected", is);
      buttons[index].tabIndex = is ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", `tab-${current}`);
  }

  async function open(key, more = {}) {
    current = key;
    mark();
    const query = new URLSearchParams({ tab: key, ...more }).toString();
    history.replaceState(null, "", `#/e/${one(id)}?${query}`);
    tab = TABS.find(([known]) => known === key)[2]({ id, experiment, open, asked: new URLSearchParams(query) });
    clear(panel, tab.element);
    await guarded(tab.refresh());
  }

  // A tab that fails says so in its place.
  async function guarded(work) {
    try {
      await work;
    } catch (problem) {
      if (problem.status === 401) throw problem;
      clear(panel, h("div", { class: "notice", role: "alert" }, h("p", null, problem.message),
        h("button", { type: "button", onclick: () => open(current) }, "Try again")));
    }
  }

  async function report() {
    await copy(await text(`/api/experiments/${one(id)}/report`), "the full report");
  }

  return {
    title: name,
    what: `experiment ${name}`,
    crumbs: [["studies", "#/"], ...(study ? [[study, `#/s/${one(study)}`]] : []), [name, null]],
    element: h("section", null, head, tabs, panel),
    concerns: (event) => event.study === study && (!event.experiment || event.experiment === name),
    async refresh() {
      experiment = await get(`/api/experiments/${one(id)}`);
      const focused = head.contains(document.activeElement) && document.activeElement.dataset.key;
      clear(head, summary(experiment, report));
      if (focused) head.querySelector(`[data-key="${focused}"]`)?.focus();
      if (!tab) {
        const first = TABS.some(([key]) => key === current) ? current : experiment.error_count || experiment.phase === "failed" ? "errors" : "predictions";
        await open(first, Object.fromEntries([...asked].filter(([key]) => key !== "tab")));
      } else {
        await guarded(tab.refresh());
      }
    },
  };
}

function summary(row, report) {
  const facts = [["Model", row.model], ["Quantisation", row.quantization], ["Dataset", row.dataset], ["Prompt", row.prompt], ["Retriever", row.retriever], ["top_k", row.top_k], ["Attempt", row.attempt], ["Owner", row.owner]];
  const scores = Object.entries(row.metrics);
  return [
    h("h1", { tabindex: "-1", "data-key": "title" }, row.name, " ", phaseBadge(row)),
    row.error ? h("p", { class: "headline" }, row.error) : null,
    row.lies.map((lie) => h("p", { class: "notice" }, lie)),
    h("p", { class: "row" }, questions(row), h("span", { class: "dim small" }, row.failed_questions ? `${row.failed_questions} lost, ` : "", "last progress ", ago(row.last_progress))),
    h("dl", { class: "facts" }, facts.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([label, value]) => h("div", null, h("dt", null, label), h("dd", null, String(value))))),
    scores.length ? h("dl", { class: "facts scores" }, scores.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value.toFixed(4))))) : null,
    h("p", { class: "row" },
      h("button", { type: "button", "data-key": "report", onclick: report }, "Copy full report"),
      h("span", { class: "dim" }, "Resume would: ", row.next_step)),
  ];
}

function detailsTab({ id }) {
  const element = h("div");
  return {
    element,
    async refresh() {
      const found = await get(`/api/experiments/${one(id)}`);
      const json = (title, value) => [
        h("h2", null, title),
        value ? h("pre", { tabindex: "0", "aria-label": title }, JSON.stringify(value, null, 2)) : h("p", { class: "dim" }, "None."),
      ];
      clear(element, h("p", null, "Directory: ", h("code", null, found.path)), json("state.json", found.state), json("metadata.json", found.metadata));
    },
  };
}
