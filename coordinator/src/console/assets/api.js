// Everything that is asked of the server: its public API and nothing else.

import { parse, write } from './json.js';
import { here } from './router.js';

/** Beside the folder that this page stands in, also behind a proxy that serves both under some prefix. */
const ROOT = new URL('../v1/', import.meta.url);
const TOKEN = 'rejoin.token';

/** An answer that is none: RFC 9457, or no answer at all (status 0). */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.code = body.code ?? 'away';
    this.title = body.title ?? 'No answer';
    this.errors = body.errors ?? [];
    this.retryable = body.retryable ?? status === 0;
  }
}

/** Set by the page: asks a person for a token. */
export const access = { onUnauthorized: () => {} };

export function token() {
  return sessionStorage.getItem(TOKEN) ?? '';
}

export function setToken(text) {
  if (text) sessionStorage.setItem(TOKEN, text);
  else sessionStorage.removeItem(TOKEN);
}

export function namespace() {
  return here().query.get('ns') ?? '';
}

/** An address of the API. `parts` are escaped; members of `query` without a value are left out, lists repeated. */
function address(parts, query) {
  // A verb behind an id (`name:pause`) is no part of what is escaped.
  const path = parts
    .map((part) => encodeURIComponent(part).replace(/%3A(?=(pause|resume|trigger|replay)$)/, ':'))
    .join('/');
  const url = new URL(path, ROOT);
  for (const [key, value] of Object.entries(query ?? {})) {
    for (const one of [value].flat()) {
      if (one !== undefined && one !== null && one !== '') url.searchParams.append(key, one);
    }
  }
  return url;
}

function headers(more) {
  const all = { ...more };
  if (token()) all.Authorization = `Bearer ${token()}`;
  if (namespace()) all['Rejoin-Namespace'] = namespace();
  return all;
}

async function send(method, parts, { query, body, signal, accept }) {
  const init = {
    method,
    signal,
    headers: headers(accept ? { Accept: accept } : {}),
    cache: 'no-store',
    credentials: 'same-origin',
  };
  if (body !== undefined) {
    init.body = write(body);
    init.headers['Content-Type'] = 'application/json';
  }
  let answer;
  try {
    answer = await fetch(address(parts, query), init);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, { detail: 'The server does not answer.' });
  }
  if (answer.ok) return answer;
  const problem = new Problem(
    answer.status,
    await answer.json().catch(() => ({ title: answer.statusText, code: 'unreadable' })),
  );
  if (answer.status === 401) access.onUnauthorized(problem);
  throw problem;
}

async function call(method, parts, options) {
  const answer = await send(method, parts, options);
  return answer.status === 204 ? null : parse(await answer.text());
}

export const get = (parts, query, signal) => call('GET', parts, { query, signal });
export const post = (parts, body = {}, query) => call('POST', parts, { body, query });
export const patch = (parts, body) => call('PATCH', parts, { body });
export const del = (parts) => call('DELETE', parts, {});

/** All items of a list of which a person can be expected to look at all, at most `max`. */
export async function all(parts, signal, max = 1000) {
  const { items } = await get(parts, { limit: max }, signal);
  return items;
}

/** So few records are fetched rather than searched. */
const FEW = 64;

/**
 * The number of a run's last record, 0 without any. Lists of records begin at the oldest, so it is searched for, from `near` on: a
 * dozen short questions for a journal of any length, three where `near` is right.
 */
export async function lastSeq(run, near, signal) {
  const records = (after, limit) => get(['runs', run, 'journal'], { after, limit }, signal).then((page) => page.items);
  const isBehind = async (seq) => (await records(seq, 1)).length > 0;
  let low = near > 0 && (await isBehind(near - 1)) ? near : 0;
  let step = FEW;
  while (await isBehind(low + step)) {
    low += step + 1;
    step *= 4;
  }
  // There is a record `low` (or it is 0), and none behind `high`.
  let high = low + step;
  while (high - low > FEW) {
    const middle = Math.floor((low + high) / 2);
    if (await isBehind(middle)) low = middle + 1;
    else high = middle;
  }
  return (await records(low, FEW)).at(-1)?.seq ?? low;
}

/**
 * Follows a run's journal from behind `after`: `onRecord(seq, kind)` for each record, until it returns false. Answers true once the
 * run has ended, false if the stream broke off or was left. Not an EventSource: that cannot show a token.
 */
export async function watch(run, after, onRecord, signal) {
  const answer = await send('GET', ['runs', run, 'watch'], { query: { after }, signal, accept: 'text/event-stream' });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return false;
    text += value;
    const events = text.split('\n\n');
    text = events.pop();
    for (const event of events) {
      const kind = /^event: ?(.*)$/m.exec(event)?.[1];
      if (kind === 'end') return true;
      if (kind && onRecord(Number(/^id: ?(.*)$/m.exec(event)?.[1]), kind) === false) {
        await reader.cancel();
        return false;
      }
    }
  }
}
