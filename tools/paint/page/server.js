// The wire: the state, asked for again and again, and the queue of what was painted, sent in order until answered.

const WAIT = 700;                       // ms before something is tried again while the server does not answer
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/**
 * Connect to the server that gave this page.
 * onState(state) is called for each newer state, onQueue(waiting, answering) whenever what waits to be saved changes,
 * onRefused(line) where the server takes something as a mistake. Returns {send, tell, get, waiting}.
 */
export function connect({ onState, onQueue, onRefused }) {
  let state = null;
  let answering = true;                 // false while the server is away
  let sending = false;
  const queue = [];                     // [{address, body, done}], the oldest first

  function take(next) {
    const older = state && next.run === state.run && next.revision < state.revision;
    if (older) return;
    const first = !state;
    state = next;
    try {
      onState(next);
    } catch (error) {
      reportError(error);               // a mistake of the page, not an answer that did not come
    }
    if (first) restore();
  }

  function report(isAnswering) {
    answering = isAnswering;
    onQueue(queue.length, answering);
  }

  // Answered by the server when something has changed, after 20 seconds at the latest.
  async function poll() {
    for (;;) {
      try {
        const after = state && answering ? `?after=${state.revision}` : "";
        const response = await fetch(`state${after}`, { signal: AbortSignal.timeout(40000) });
        if (!response.ok) throw new Error(response.status);
        const next = await response.json();
        if (!answering) report(true);
        take(next);
      } catch {
        report(false);
        await pause(WAIT);
      }
    }
  }

  // What is not answered yet survives a reload of this tab. The server does no request twice: sending again is safe.
  const store = () => `paint ${state.out}`;
  function keep() {
    try {
      const kept = queue.map(({ address, body }) => ({ address, body }));
      if (kept.length) sessionStorage.setItem(store(), JSON.stringify(kept));
      else sessionStorage.removeItem(store());
    } catch {
      onQueue(queue.length, answering);  // no room: it still waits in this page
    }
  }
  function restore() {
    const kept = JSON.parse(sessionStorage.getItem(store()) ?? "[]");
    queue.unshift(...kept.map((item) => ({ ...item, done() {} })));
    onQueue(queue.length, answering);
    pump();
  }

  async function pump() {
    if (sending) return;
    sending = true;
    while (queue.length) {
      const item = queue[0];
      try {
        const headers = { "Content-Type": "application/json" };
        const signal = AbortSignal.timeout(30000);
        const body = JSON.stringify(item.body);
        const response = await fetch(item.address, { method: "POST", headers, body, signal });
        const answer = await response.json();
        if (!response.ok && response.status !== 400 && response.status !== 413) throw new Error(response.status);
        queue.shift();
        keep();
        report(true);
        if (response.ok) take(answer);
        else onRefused(answer.error);
        item.done(response.ok ? answer : null);
      } catch {
        report(false);
        await pause(WAIT);
      }
    }
    sending = false;
  }

  poll();
  return {
    /** Queue a POST; returns its answer, a state, or null where the server refused it. */
    send(address, body) {
      return new Promise((done) => {
        queue.push({ address, body: { ...body, request: crypto.randomUUID() }, done });
        if (state) keep();
        onQueue(queue.length, answering);
        pump();
      });
    },
    /** POST something that may be lost, such as which part of the image is in view. */
    tell(address, body) {
      if (!answering) return;
      const headers = { "Content-Type": "application/json" };
      fetch(address, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => {});
    },
    /** GET JSON; null where the server is away or has none. */
    async get(address) {
      if (!answering) return null;
      try {
        const response = await fetch(address);
        return response.ok ? await response.json() : null;
      } catch {
        return null;
      }
    },
    waiting: () => queue.length,
  };
}
