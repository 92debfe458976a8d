import { get, one } from "./api.js";
import { ago, badge, bar, clear, empty, h, number, plural } from "./dom.js";

export const PARTS = [["complete", "complete"], ["computing_metrics", "busy"], ["running", "running"], ["interrupted", "interrupted"], ["failed", "failed"], ["waiting", "waiting"]];

export function progress(study) {
  const { counts, experiments } = study;
  const said = PARTS.filter(([name]) => counts[name]).map(([name]) => `${counts[name]} ${name.replace("_", " ")}`).join(", ");
  return [bar(PARTS.map(([name, kind]) => [counts[name], kind]), experiments, `${plural(experiments, "experiment")}: ${said}`), h("span", { class: "dim small" }, said || "nothing yet")];
}

export function studiesView() {
  const list = h("div", { class: "cards" });
  const element = h("section", null, h("h1", { tabindex: "-1" }, "Studies"), list);
  return {
    title: "Studies",
    what: "studies",
    crumbs: [["studies", null]],
    element,
    concerns: () => true,
    async refresh() {
      const { studies } = await get("/api/studies");
      if (studies.length === 0) {
        clear(list, empty("There is no study here yet.", "Run one with ", h("code", null, "ragicamp run study.yaml"), "; it shows up here by itself."));
        return;
      }
      clear(list, studies.map(card));
    },
  };
}

function card(study) {
  return h("article", { class: "card" },
    h("h2", null, h("a", { href: `#/s/${one(study.id)}` }, study.name), " ",
      study.live ? badge("live", "running", "A process is at it") : null, " ",
      study.counts.failed ? badge(`${study.counts.failed} failed`, "failed") : null),
    study.description ? h("p", null, study.description) : null,
    h("p", { class: "row" }, progress(study)),
    h("p", { class: "dim small" }, `${number(study.answered)} of ${number(study.total)} questions answered`,
      study.failed_questions ? `, ${number(study.failed_questions)} lost` : "", ", last progress ", ago(study.last_progress)));
}
