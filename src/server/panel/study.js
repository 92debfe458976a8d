import { get, one } from "./api.js";
import { ago, badge, bar, clear, empty, h, number, plural } from "./dom.js";
import { progress } from "./studies.js";

const PHASES = [["", "all"], ["failed", "failed"], ["running", "running"], ["complete", "complete"], ["interrupted", "interrupted"], ["generating", "generating"], ["computing_metrics", "without metrics"]];
const COLUMNS = [["name", "Experiment"], ["phase", "Phase"], ["progress", "Questions"], ["errors", "Errors"], [null, "Scores"], ["updated", "Progress"]];

/** Letters come faster than answers. */
const TYPING = 200;

export function studyView(id, asked) {
  const want = {
    phase: asked.get("phase") ?? "",
    q: asked.get("q") ?? "",
    sort: asked.get("sort") ?? "name",
    order: asked.get("order") ?? "asc",
    page: Number(asked.get("page") ?? 1),
  };
  const summary = h("div", { class: "summary" });
  const causes = h("div");
  const table = h("div");
  let typing = null;
  let turn = 0;

  function change(more) {
    Object.assign(want, { page: 1 }, more);
    const kept = Object.entries(want).filter(([name, value]) => value !== "" && !(name === "page" && value === 1) && !(name === "sort" && value === "name") && !(name === "order" && value === "asc"));
    const query = new URLSearchParams(kept).toString();
    history.replaceState(null, "", `#/s/${one(id)}${query ? `?${query}` : ""}`);
    return rows();
  }

  const filters = h("form", { class: "filters", role: "search" },
    h("label", null, "Filter ", h("input", {
      type: "search", value: want.q, placeholder: "name or error",
      oninput: (event) => {
        clearTimeout(typing);
        typing = setTimeout(() => change({ q: event.target.value }), TYPING);
      },
    })),
    h("label", null, "Phase ", h("select", { onchange: (event) => change({ phase: event.target.value }) },
      PHASES.map(([value, label]) => h("option", { value, selected: value === want.phase }, label)))));
  filters.addEventListener("submit", (event) => event.preventDefault());

  async function rows() {
    const mine = ++turn;
    const page = await get(`/api/studies/${one(id)}/experiments`, { ...want, per_page: 50 });
    // An answer that was overtaken says nothing.
    if (mine !== turn) return;
    if (page.total === 0) {
      clear(table, want.q || want.phase ? empty("No experiment fits the filter.") : empty("No experiment has begun yet."));
      return;
    }
    const sorted = document.activeElement?.dataset?.sort;
    clear(table,
      h("table", { class: "experiments" },
        h("caption", { class: "visually-hidden" }, `Experiments of ${id}`),
        h("thead", null, h("tr", null, COLUMNS.map(header))),
        h("tbody", null, page.items.map(row))),
      pages(page));
    if (sorted) table.querySelector(`[data-sort=${sorted}]`)?.focus();
  }

  function header([sort, label]) {
    if (!sort) return h("th", { scope: "col" }, label);
    const is = want.sort === sort;
    const order = is && want.order === "asc" ? "desc" : "asc";
    return h("th", { scope: "col", "aria-sort": is ? { asc: "ascending", desc: "descending" }[want.order] : "none" },
      h("button", { type: "button", "data-sort": sort, onclick: () => change({ sort, order: is ? order : sort === "errors" || sort === "updated" ? "desc" : "asc" }) },
        label, is ? h("span", { "aria-hidden": "true" }, want.order === "asc" ? " ▲" : " ▼") : null));
  }

  function pages(page) {
    const last = Math.ceil(page.total / page.per_page);
    if (last < 2) return h("p", { class: "dim small" }, plural(page.total, "experiment"));
    return h("nav", { class: "pages", "aria-label": "Pages" },
      h("button", { type: "button", disabled: page.page <= 1, onclick: () => change({ page: page.page - 1 }) }, "Previous"),
      h("span", null, `Page ${page.page} of ${last}, ${plural(page.total, "experiment")}`),
      h("button", { type: "button", disabled: page.page >= last, onclick: () => change({ page: page.page + 1 }) }, "Next"));
  }

  return {
    title: id,
    what: `study ${id}`,
    crumbs: [["studies", "#/"], [id, null]],
    element: h("section", null, summary, causes, filters, table),
    concerns: (event) => event.study === id,
    leave: () => clearTimeout(typing),
    async refresh() {
      const [study] = await Promise.all([get(`/api/studies/${one(id)}`), rows()]);
      const focused = summary.contains(document.activeElement);
      clear(summary,
        h("h1", { tabindex: "-1" }, study.name, " ", study.live ? badge("live", "running", "A process is at it") : null),
        study.description ? h("p", null, study.description) : null,
        h("p", { class: "row" }, progress(study)),
        h("p", { class: "dim" }, `${number(study.answered)} of ${number(study.total)} questions answered`, study.failed_questions ? `, ${number(study.failed_questions)} lost` : "", ", last progress ", ago(study.last_progress)));
      if (focused) summary.querySelector("h1").focus({ preventScroll: true });
      const open = new Set([...causes.querySelectorAll("details[open]")].map((cause) => cause.dataset.key));
      clear(causes, causesOf(study, open));
    },
  };
}

function causesOf(study, open) {
  if (study.causes.length === 0) return null;
  return h("section", { class: "causes", "aria-labelledby": "causes" },
    h("h2", { id: "causes" }, `${plural(study.counts.failed, "failed experiment")}, ${plural(study.causes.length, "cause")}`),
    study.causes.map((cause) =>
      h("details", { "data-key": cause.dedupe_key, open: open.has(cause.dedupe_key) },
        h("summary", null, badge(cause.error_type, "failed", cause.subtype), " ", h("strong", null, cause.message), " ", h("span", { class: "dim" }, plural(cause.experiment_count, "experiment"))),
        h("p", null, cause.description),
        h("ul", null, cause.suggestions.map((suggestion) => h("li", null, suggestion))),
        h("p", { class: "small" }, cause.experiments.map((name, index) => [index ? ", " : "", h("a", { href: `#/e/${one(`${study.id}/${name}`)}` }, name)]),
          cause.experiment_count > cause.experiments.length ? ` and ${cause.experiment_count - cause.experiments.length} more` : ""))));
}

export function phaseBadge(row) {
  if (row.live) return badge(row.phase ?? "running", "running", `Owned by ${row.owner}`);
  if (row.phase === "complete") return badge("complete", "complete");
  if (row.phase === "failed") return badge("failed", "failed", row.failure_class);
  if (row.interrupted) return badge("interrupted", "interrupted");
  // As the counts have it: what nobody began yet waits.
  if (row.died) return badge(`${row.phase ?? "unknown"}, died`, "failed", "Its process is gone without a word");
  return badge(row.phase ?? "unknown", "waiting", "No process is at it");
}

export function questions(row) {
  const said = `${number(row.answered)} of ${number(row.total)} answered${row.failed_questions ? `, ${number(row.failed_questions)} lost` : ""}`;
  return [bar([[row.answered, "complete"], [row.failed_questions, "failed"]], row.total, said), h("span", { class: "small" }, `${number(row.answered)}/${number(row.total)}`)];
}

/** The scores, without what says how many questions were scored. */
export function scores(row) {
  // Counts are no scores: `n_scored`, `rouge_l_n`.
  return Object.entries(row.metrics).filter(([name]) => !/^n_|_n$|^coverage$|_ci\d+$/.test(name));
}

function row(row) {
  const href = `#/e/${one(row.id)}`;
  const errors = [
    row.error_count ? badge(number(row.error_count), "failed", `${plural(row.error_count, "different error")} in its log`) : null,
    row.failed_questions ? h("span", { class: "small" }, `${number(row.failed_questions)} lost`) : null,
  ].filter(Boolean);
  return h("tr", null,
    h("th", { scope: "row", "data-label": "Experiment" }, h("a", { href }, row.name), row.error ? h("div", { class: "error-line", title: row.error }, row.error) : null),
    h("td", { "data-label": "Phase" }, phaseBadge(row)),
    h("td", { "data-label": "Questions" }, questions(row)),
    h("td", { "data-label": "Errors" }, errors.length ? errors.map((part) => [part, " "]) : h("span", { class: "dim" }, "–")),
    h("td", { "data-label": "Scores" }, h("dl", { class: "scores" }, scores(row).slice(0, 3).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value.toFixed(3)))))),
    h("td", { "data-label": "Progress" }, ago(row.last_progress)));
}
