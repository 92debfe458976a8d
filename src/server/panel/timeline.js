// When errors occurred: a row per kind of error, a mark per time.

import { h, plural, svg } from "./dom.js";

const BINS = 120;
const MOST = 12;

/** `errors`: [{label, key, count, times: [RFC 3339 or null], is_warning}]. */
export function timeline(errors) {
  const dated = errors
    .map((error) => ({ ...error, at: error.times.filter(Boolean).map(Date.parse) }))
    .filter((error) => error.at.length > 0);
  if (dated.length === 0) return null;
  const all = dated.flatMap((error) => error.at);
  const from = Math.min(...all);
  const to = Math.max(...all);
  const span = Math.max(to - from, 1);
  const rows = dated.slice(0, MOST).map((error) => {
    const bins = new Array(BINS).fill(0);
    for (const at of error.at) bins[Math.min(BINS - 1, Math.floor(((at - from) / span) * BINS))] += 1;
    const most = Math.max(...bins);
    const said = `${plural(error.count, "time")}, from ${clock(Math.min(...error.at))} to ${clock(Math.max(...error.at))}`;
    const marks = bins.map((count, bin) => {
      if (!count) return null;
      const height = 5 + 15 * (count / most);
      return svg("rect", { x: bin * 5, y: 20 - height, width: 4, height, rx: 1, class: error.is_warning ? "warning" : "error" },
        svg("title", null, `${plural(count, "time")} about ${clock(from + (span * bin) / BINS)}`));
    });
    return h("li", null,
      h("span", { class: "timeline-label", title: error.key }, error.label),
      svg("svg", { viewBox: `0 0 ${BINS * 5} 20`, preserveAspectRatio: "none", role: "img", "aria-label": said }, marks));
  });
  return h("figure", { class: "timeline" },
    h("figcaption", null, "When they occurred"),
    h("ul", null, rows),
    h("div", { class: "timeline-ends", "aria-hidden": "true" }, h("span", null, clock(from)), h("span", null, clock(to))),
    dated.length > MOST ? h("p", { class: "dim" }, `${dated.length - MOST} more kinds are not drawn.`) : null);
}

function clock(time) {
  return new Date(time).toISOString().replace("T", " ").replace(/\.\d+Z$/, "Z");
}
