// What a reader chose; it stays in this browser.

import { h } from "./dom.js";

const stored = (name, otherwise) => localStorage.getItem(`ragicamp-${name}`) ?? otherwise;

export const settings = {
  get theme() {
    return stored("theme", "auto");
  },
  get links() {
    return stored("links", "copy");
  },
  get root() {
    return stored("root", "");
  },
};

export function applyTheme() {
  if (settings.theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = settings.theme;
}

export function openSettings(onChange) {
  const keep = (name) => (event) => {
    localStorage.setItem(`ragicamp-${name}`, event.target.value);
    applyTheme();
    onChange();
  };
  const choice = (name, label, options) =>
    h("label", null, label,
      h("select", { onchange: keep(name) },
        options.map(([value, text]) => h("option", { value, selected: settings[name] === value }, text))));
  const dialog = h("dialog", { "aria-labelledby": "settings-title" },
    h("h2", { id: "settings-title" }, "Settings"),
    choice("theme", "Colours", [["auto", "as the system"], ["light", "light"], ["dark", "dark"]]),
    choice("links", "A click on file:line", [["copy", "copies it"], ["vscode", "opens VS Code"]]),
    h("label", null, "Directory that relative paths are in",
      h("input", { type: "text", value: settings.root, placeholder: "/home/me/project", onchange: keep("root") })),
    h("p", { class: "dim" }, "Keys: r refreshes, / goes to the filter."),
    h("button", { type: "button", onclick: () => dialog.close() }, "Close"));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
