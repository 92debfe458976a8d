// Everything that is asked of the server, with the token where there is one.

const KEY = "ragicamp-token";

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function setToken(token) {
  sessionStorage.setItem(KEY, token);
}

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer. Is `ragicamp serve` still running?");
  }
  if (!response.ok) {
    let detail = response.statusText;
    try {
      detail = (await response.json()).detail ?? detail;
    } catch {
      // The status has to do.
    }
    throw new Problem(response.status, detail);
  }
  return response;
}

export const one = encodeURIComponent;

export async function get(path, query = {}, signal) {
  const asked = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = new URLSearchParams(asked).toString();
  return (await ask(search ? `${path}?${search}` : path, { signal })).json();
}

export async function text(path) {
  return (await ask(path)).text();
}

/**
 * Listens to the studies' events for ever; fetch, because an EventSource can
 * not carry a token. `onState` hears "live" and "lost".
 */
export async function listen(onEvent, onState) {
  let last = null;
  let wait = 1000;
  for (;;) {
    try {
      const response = await ask("/api/events", { headers: last ? { "Last-Event-ID": last } : {} });
      onState("live");
      wait = 1000;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}:`))?.slice(name.length + 1).trim();
          last = field("id") ?? last;
          const data = field("data");
          if (data) onEvent(JSON.parse(data));
        }
      }
    } catch (problem) {
      if (problem.status === 401) {
        onState("locked");
        return;
      }
    }
    onState("lost");
    await new Promise((resume) => setTimeout(resume, wait));
    wait = Math.min(2 * wait, 15000);
  }
}
