// A line of code in colours: enough of Python, Rust and C++ to read a frame.

import { h } from "./dom.js";

const KEYWORDS = new Set((
  "and as assert async await break class continue def del elif else except False finally for from global if import in is lambda None nonlocal not or pass raise return True try while with yield " +
  "fn let mut pub impl struct enum match use mod self Self crate where loop ref move dyn unsafe const static trait type " +
  "auto void int float double char bool template typename namespace new delete throw catch switch case default nullptr true false"
).split(" "));

const TOKEN = /(#.*|\/\/.*)|("(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*')|(\b\d[\w.]*\b)|([A-Za-z_]\w*)(\s*\()?/g;

export function code(text) {
  const shown = h("code");
  let at = 0;
  for (const found of text.matchAll(TOKEN)) {
    const [whole, comment, string, digits, word, call] = found;
    const kind = comment ? "comment" : string ? "string" : digits ? "number" : KEYWORDS.has(word) ? "keyword" : call ? "call" : null;
    shown.append(text.slice(at, found.index));
    const piece = word ?? whole;
    shown.append(kind ? h("span", { class: `code-${kind}` }, piece) : piece, word ? (call ?? "") : "");
    at = found.index + whole.length;
  }
  shown.append(text.slice(at));
  return shown;
}
