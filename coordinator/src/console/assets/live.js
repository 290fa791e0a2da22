// Keeping a page up to date without a storm of questions: of each thing at most one question is under way, the next is asked no
// earlier than 2 s after the answer (and a server that takes long has four times as long for itself), and none while nobody looks.

const PACE_MS = 2000;
/** Longest wait after questions that failed. */
const PACE_MAX_MS = 30_000;
/** So many times the duration of an answer passes before the next question. */
const SHARE = 4;

/** What one address answers, kept up to date. */
export class Feed {
  /** `load(signal)` asks; `changed()` is called whenever there is something to show. */
  constructor(load, changed, signal) {
    this.load = load;
    this.changed = changed;
    this.signal = signal;
    this.data = undefined;
    this.error = null;
    this.isBusy = false;
    this.isWanted = false;
    this.question = null;
    this.failures = 0;
    this.readyAt = 0;
    this.timer = 0;
    this.everyMs = 0;
    document.addEventListener('visibilitychange', () => this.isWanted && this.soon(), { signal });
    signal.addEventListener('abort', () => clearTimeout(this.timer));
  }

  /** Asks at once, whatever the pace. */
  async now() {
    if (this.isBusy || this.signal.aborted) {
      this.isWanted = true;
      return;
    }
    clearTimeout(this.timer);
    this.isBusy = true;
    this.isWanted = false;
    const began = performance.now();
    const question = new AbortController();
    this.question = question;
    let [data, error] = [this.data, null];
    try {
      data = await this.load(AbortSignal.any([this.signal, question.signal]));
    } catch (failed) {
      error = failed;
    }
    if (question.signal.aborted || this.signal.aborted) return;
    this.isBusy = false;
    [this.data, this.error] = [data, error];
    this.failures = error ? this.failures + 1 : 0;
    this.readyAt = performance.now() + this.pace(performance.now() - began);
    this.changed();
    // Whoever shows no valid token asks no more: a person is asked for another.
    if (error?.status === 401) return;
    if (this.everyMs > 0 || this.isWanted || error?.retryable) this.soon(this.everyMs);
  }

  /** Asks for something else from now on; what is there stays until the answer comes, if `isLike` it. */
  turn(load, isLike = true) {
    this.question?.abort();
    this.isBusy = false;
    this.load = load;
    this.error = null;
    if (!isLike) this.data = undefined;
    return this.now();
  }

  /** Asks as soon as the pace allows it and somebody looks. Any number of calls make one question. */
  soon(leastMs = 0) {
    this.isWanted = true;
    clearTimeout(this.timer);
    if (document.hidden) return;
    const wait = Math.max(leastMs, this.readyAt - performance.now(), 0);
    this.timer = setTimeout(() => (document.hidden ? undefined : this.now()), wait);
  }

  /** Asks again and again. */
  keep(everyMs = PACE_MS) {
    this.everyMs = everyMs;
    return this;
  }

  pace(tookMs) {
    if (this.failures > 0) return Math.min(PACE_MS * 2 ** (this.failures - 1), PACE_MAX_MS);
    return Math.max(PACE_MS, tookMs * SHARE);
  }
}

/** Resolves after `ms`, or when `signal` says so. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Resolves once somebody looks at the page. */
export function visible(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => document.hidden || resolve();
    document.addEventListener('visibilitychange', look, { signal });
    signal.addEventListener('abort', resolve);
  });
}
