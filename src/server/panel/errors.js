// What went wrong: class and advice, when, each kind of error, the traceback.

import { get, one } from "./api.js";
import { ago, badge, clear, copy, empty, h, number, plural } from "./dom.js";
import { code } from "./highlight.js";
import { settings } from "./settings.js";
import { timeline } from "./timeline.js";

const CONFIDENCE = {
  high: "High: the log says so in so many words.",
  medium: "Medium: the likeliest reading; look at the traceback.",
  low: "Low: a guess from little.",
};
const LINKS = { cause: "which directly caused", context: "while that was handled", remote: "as another process told it" };

export function errorsTab({ id, open }) {
  const element = h("div", { class: "errors" });
  return {
    element,
    async refresh() {
      const found = await get(`/api/experiments/${one(id)}/errors`);
      const state = new Map([...element.querySelectorAll("details[data-key]")].map((part) => [part.dataset.key, part.open]));
      const focused = document.activeElement?.dataset?.key;
      clear(element, content(found, open));
      for (const part of element.querySelectorAll("details[data-key]")) {
        if (state.has(part.dataset.key)) part.open = state.get(part.dataset.key);
      }
      if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    },
  };
}

function content(found, open) {
  const details = found.details ?? {};
  if (found.errors.length === 0 && !found.analysis) {
    const seen = details.errors?.length ?? 0;
    return [
      empty(found.status === "running" ? "Nothing has ended it." : found.error_summary ?? "Nothing failed.",
        seen ? `Its log holds ${plural(seen, "message")} it got over; see the log.` : "Its log holds no error."),
      seen ? timelineOf(details.errors.map((error) => ({ ...error, count: error.times.length })), []) : null,
    ];
  }
  return [analysis(found, details), timelineOf(details.errors ?? [], found.errors), kinds(found.errors, details.errors ?? [], open), chain(found, details)];
}

function analysis(found, details) {
  const said = found.analysis;
  if (!said) return found.error_summary ? h("section", { class: "analysis" }, h("p", { class: "lead" }, found.error_summary)) : null;
  const place = details.root_cause?.place;
  return h("section", { class: "analysis", "aria-labelledby": "cause" },
    h("h2", { id: "cause" }, badge(said.error_type, "failed"), " ", details.subtype ? badge(details.subtype, "waiting") : null, " ",
      badge(`${said.confidence} confidence`, `confidence-${said.confidence}`, CONFIDENCE[said.confidence])),
    h("p", { class: "lead" }, found.error_summary),
    h("p", null, said.description),
    place ? h("p", null, "Where: ", location(place), place.function ? ` in ${place.function}` : "") : null,
    h("p", { class: "dim small" }, `Phase: ${said.error_phase}. ${CONFIDENCE[said.confidence]}`),
    said.suggestions.length ? [h("h3", null, "What to change"), h("ol", { class: "suggestions" }, said.suggestions.map((suggestion) => h("li", null, suggestion)))] : null);
}

function timelineOf(details, errors) {
  return timeline(details.map((detail, index) => ({
    key: detail.dedupe_key,
    label: detail.exception_type ?? errors[index]?.message ?? detail.dedupe_key,
    count: errors[index]?.count ?? detail.count ?? detail.times.length,
    times: detail.times ?? [],
    is_warning: errors[index]?.level === "warning",
  })));
}

function kinds(errors, details, open) {
  if (errors.length === 0) return null;
  const byKey = new Map(details.map((detail) => [detail.dedupe_key, detail]));
  return h("section", { "aria-labelledby": "kinds" },
    h("h2", { id: "kinds" }, plural(errors.length, "kind of message", "kinds of messages")),
    h("ul", { class: "kinds" }, errors.map((error, index) => {
      const more = byKey.get(error.dedupe_key) ?? {};
      return h("li", null, h("details", { "data-key": `kind-${error.dedupe_key}`, open: index === 0 },
        h("summary", null, badge(`${number(error.count)}×`, error.level === "warning" ? "interrupted" : "failed", plural(error.count, "occurrence")), " ",
          error.phase ? badge(error.phase, "waiting") : null, " ", h("span", { class: "message" }, error.message.split("\n")[0])),
        h("pre", { tabindex: "0", "aria-label": "The message" }, error.message),
        h("dl", { class: "facts" },
          fact("Class", more.class ? `${more.class}${more.subtype && more.subtype !== "unknown" ? ` (${more.subtype})` : ""}` : null),
          fact("First", more.first_seen ? ago(more.first_seen) : null),
          fact("Last", more.last_seen && more.last_seen !== more.first_seen ? ago(more.last_seen) : null),
          fact("Ranks", more.ranks?.length ? more.ranks.join(", ") : null),
          fact("Key", h("code", null, error.dedupe_key))),
        lines(more, open)));
    })));
}

function fact(label, value) {
  return value ? h("div", null, h("dt", null, label), h("dd", null, value)) : null;
}

function lines(more, open) {
  if (!more.lines?.length) return null;
  const shown = more.lines.slice(0, 30);
  const rest = more.lines.length - shown.length + (more.lines_dropped ?? 0);
  return h("p", { class: "small lines" }, "Lines ", shown.map((line) => [h("button", { type: "button", class: "link", "data-key": `line-${line}`, onclick: () => open("log", { line }) }, String(line)), " "]), rest ? `and ${number(rest)} more` : "");
}

/** The exceptions as steps, the one that started it first. */
function chain(found, details) {
  const raised = details.chain?.exceptions ?? [];
  if (raised.length === 0 && !found.traceback) return null;
  return h("section", { "aria-labelledby": "traceback" },
    h("h2", { id: "traceback" }, raised.length > 1 ? `Traceback in ${raised.length} steps, the root first` : "Traceback"),
    raised.length ? h("ol", { class: "steps" }, raised.map((step, index) => stepOf(step, index, raised.length, `${index}`))) : null,
    found.traceback?.raw ? h("details", { "data-key": "raw" }, h("summary", null, "As it stands in the log"),
      h("button", { type: "button", "data-key": "copy-raw", onclick: () => copy(found.traceback.raw, "the traceback") }, "Copy"),
      h("pre", { tabindex: "0", "aria-label": "Traceback" }, found.traceback.raw)) : null);
}

function stepOf(step, index, of, key) {
  const last = index === of - 1;
  return h("li", null,
    step.link ? h("p", { class: "dim link-word" }, LINKS[step.link] ?? step.link) : null,
    h("details", { "data-key": `step-${key}`, open: index === 0 || last },
      h("summary", null, index === 0 && of > 1 ? [badge("root", "failed"), " "] : null, h("strong", null, step.exception_type ?? "?"), step.message ? `: ${step.message}` : "", " ", h("span", { class: "dim" }, plural(step.frames.length, "frame"))),
      step.notes?.length ? h("pre", { tabindex: "0", "aria-label": "Notes" }, step.notes.join("\n")) : null,
      h("ol", { class: "frames" }, step.frames.map(frame)),
      step.frames_dropped ? h("p", { class: "dim" }, `${plural(step.frames_dropped, "frame")} left out`) : null,
      step.children?.length ? h("ol", { class: "steps" }, step.children.map((child, place) => child.exceptions.map((inner, at) => stepOf(inner, at, child.exceptions.length, `${key}-${place}-${at}`)))) : null));
}

function frame(frame) {
  const library = /site-packages|dist-packages|\/lib\/python|\/rustc\/|\.cargo\/registry|<frozen/.test(frame.file);
  return h("li", { class: library ? "library" : null },
    location(frame), frame.function ? h("span", { class: "dim" }, " in ", h("span", { class: "function" }, frame.function)) : null,
    frame.repeated ? h("span", { class: "dim" }, ` repeated ${number(frame.repeated)} times`) : null,
    frame.code ? h("pre", { tabindex: "0", "aria-label": `Code at ${frame.file}` }, code(frame.code), frame.marker ? `\n${frame.marker}` : "") : null);
}

/** `file:line`; a click copies it or opens it. */
function location(frame) {
  const place = frame.line ? `${frame.file}:${frame.line}` : frame.file;
  if (settings.links === "vscode" && !frame.file.startsWith("<")) {
    const path = frame.file.startsWith("/") || /^[A-Za-z]:\\/.test(frame.file) ? frame.file : `${settings.root.replace(/\/$/, "")}/${frame.file}`;
    return h("a", { class: "place", href: `vscode://file${encodeURI(path.startsWith("/") ? path : `/${path}`)}${frame.line ? `:${frame.line}` : ""}`, title: "Open in VS Code" }, place);
  }
  return h("button", { type: "button", class: "link place", title: "Copy", onclick: () => copy(place, place) }, place);
}
