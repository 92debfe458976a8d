// The panel: #/ studies, #/s/STUDY its experiments, #/e/ID one experiment.
// A view is {title, crumbs, element, refresh(), concerns(event)}; what is
// shown is asked again when an event concerns it.

import { listen, Problem, setToken } from "./api.js";
import { clear, h, loading } from "./dom.js";
import { experimentView } from "./experiment.js";
import { applyTheme, openSettings } from "./settings.js";
import { studiesView } from "./studies.js";
import { studyView } from "./study.js";

const main = document.getElementById("main");
const live = document.getElementById("live");

/** Events come in bursts; what they changed is asked for at most so often. */
const PAUSE = 1000;

/** The server may answer with what it saw a little earlier, so that the last event is asked about once more. */
const AFTERWARDS = 5000;

/** While something runs, what is shown is asked for so often without an event. */
const SLOWLY = 15000;

let view = null;
let listening = false;

function route() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const [, kind, name] = path.split("/");
  const asked = new URLSearchParams(query);
  if (kind === "s" && name) return studyView(decodeURIComponent(name), asked);
  if (kind === "e" && name) return experimentView(decodeURIComponent(name), asked);
  return studiesView();
}

async function show() {
  view?.leave?.();
  const mine = route();
  view = mine;
  document.title = `${mine.title} – ragicamp`;
  clear(document.getElementById("crumbs"), mine.crumbs.map(([label, href]) => [h("span", { "aria-hidden": "true" }, "/"), href ? h("a", { href }, label) : h("span", { "aria-current": "page" }, label)]));
  clear(main, loading(mine.what));
  // A view that is slow or fails is no reason not to hear what happens.
  if (!listening) {
    listening = true;
    listen(heard, say);
  }
  await refresh(mine, () => {
    clear(main, mine.element);
    main.querySelector("h1")?.focus({ preventScroll: true });
    mine.shown?.();
  });
}

async function refresh(mine = view, then = () => {}) {
  try {
    await mine.refresh();
    if (view !== mine) return;
    if (!main.contains(mine.element)) clear(main, mine.element);
    then();
  } catch (problem) {
    if (view !== mine || problem.name === "AbortError") return;
    if (problem instanceof Problem && problem.status === 401) clear(main, door());
    else clear(main, failed(problem));
  }
}

function failed(problem) {
  return h("div", { class: "notice", role: "alert" },
    h("h1", { tabindex: "-1" }, problem.status === 404 ? "There is no such thing" : "That did not work"),
    h("p", null, problem.message),
    h("p", null, h("button", { type: "button", onclick: () => show() }, "Try again"), " ", h("a", { href: "#/" }, "All studies")));
}

function door() {
  const input = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
  const form = h("form", { class: "door" },
    h("h1", { tabindex: "-1" }, "This server asks for a token"),
    h("label", { for: "token" }, "Token (what is in the file given with --token-file)"), input,
    h("button", { type: "submit" }, "Go on"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setToken(input.value.trim());
    listening = false;
    show();
  });
  return form;
}

let timer = null;
let again = false;
let afterwards = null;

function heard(event) {
  if (!view?.concerns(event)) return;
  clearTimeout(afterwards);
  afterwards = setTimeout(() => refresh(), AFTERWARDS);
  if (timer) {
    again = true;
    return;
  }
  timer = setTimeout(async () => {
    await refresh();
    timer = null;
    if (again) {
      again = false;
      heard(event);
    }
  }, PAUSE);
}

function say(state) {
  const lost = live.dataset.state === "lost";
  live.dataset.state = state;
  live.textContent = { live: "live", lost: "reconnecting", locked: "locked" }[state] ?? state;
  // What happened meanwhile was not heard of.
  if (state === "live" && lost) refresh();
}

setInterval(() => {
  if (!document.hidden && main.querySelector(".badge.running")) refresh();
}, SLOWLY);

document.getElementById("refresh").addEventListener("click", () => refresh());
document.getElementById("settings").addEventListener("click", () => openSettings(() => refresh()));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "r") refresh();
  if (event.key === "/") {
    const filter = main.querySelector("input[type=search]");
    if (filter) {
      event.preventDefault();
      filter.focus();
    }
  }
});
addEventListener("hashchange", show);
applyTheme();
show();
