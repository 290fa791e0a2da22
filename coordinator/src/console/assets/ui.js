// The small parts that all pages are made of.

import { h } from './dom.js';
import { absolute, number, relative, shortId } from './format.js';
import { icon } from './icons.js';
import { link } from './router.js';

export const RUN_STATES = [
  'scheduled',
  'running',
  'waiting',
  'paused',
  'compensating',
  'completed',
  'failed',
  'compensation_failed',
  'cancelled',
];
export const STEP_STATES = ['pending', 'running', 'retrying', 'parked', 'completed', 'failed', 'cancelled', 'skipped'];
const ENDED = new Set(['completed', 'failed', 'compensation_failed', 'cancelled']);

export const hasEnded = (run) => ENDED.has(run.state);
export const words = (name) => name.replaceAll('_', ' ');

export function sign(state) {
  return h('span', { class: `sign s-${state ?? 'none'}`, 'aria-hidden': 'true' }, icon(state));
}

export function pill(state) {
  return h('span', { class: `pill s-${state}` }, sign(state), words(state));
}

/** A time ago, or to come; the whole of it on hover. */
export function time(at, nothing = '–') {
  return at ? h('time', { datetime: at, title: absolute(at) }, relative(at)) : h('span', { class: 'soft' }, nothing);
}

export function runLink(id, more = {}) {
  return h('a', { class: 'mono', href: link(['runs', id]), title: id, ...more }, shortId(id));
}

/** `kind` is plain, primary or danger. */
export function button(text, onclick, { kind = 'plain', ...props } = {}) {
  return h('button', { type: 'button', class: `button ${kind}`, onclick, ...props }, text);
}

export function iconButton(name, label, onclick, props = {}) {
  return h(
    'button',
    { type: 'button', class: 'button icon', onclick, 'aria-label': label, title: label, ...props },
    icon(name),
  );
}

/** Copies what `text()` gives. */
export function copy(label, text) {
  const onclick = async (event) => {
    const place = event.currentTarget;
    const copied = await navigator.clipboard?.writeText(text()).then(
      () => true,
      () => false,
    );
    place.dataset.said = copied ? 'copied' : 'not allowed here';
    setTimeout(() => delete place.dataset.said, 1500);
  };
  return iconButton('copy', label, onclick);
}

const PARTS = [
  ['done', 'completed'],
  ['failed', 'failed'],
  ['running', 'running'],
  ['waiting', 'waiting'],
];

/** A run's progress, in steps. */
export function progress(of, { isSmall = false, total = of.total } = {}) {
  const share = (n) => `${total > 0 ? (100 * n) / total : 0}%`;
  const bars = PARTS.map(([part, state]) => h('span', { class: `part s-${state}`, style: { width: share(of[part]) } }));
  const said = PARTS.map(([part]) => `${number(of[part])} ${part}`).join(', ');
  const bar = h('div', { class: 'bar', role: 'img', 'aria-label': `${number(total)} steps: ${said}` }, bars);
  if (isSmall) {
    return h(
      'div',
      { class: 'progress small', title: said },
      bar,
      h('span', { class: 'soft num' }, total ? `${number(of.done)}/${number(total)}` : '–'),
    );
  }
  const legend = PARTS.map(([part, state]) =>
    h('li', {}, sign(state), h('b', { class: 'num' }, number(of[part])), ` ${part}`),
  );
  return h(
    'div',
    { class: 'progress' },
    bar,
    h('ul', { class: 'legend' }, h('li', {}, h('b', { class: 'num' }, number(total)), ' steps opened'), legend),
  );
}

/** A bar of how much of something is in use. */
export function meter(used, of) {
  const share = of > 0 ? Math.min(100, (100 * used) / of) : 0;
  return h(
    'div',
    { class: 'progress small' },
    h(
      'div',
      { class: 'bar', role: 'img', 'aria-label': `${used} of ${of}` },
      h('span', { class: 'part s-running', style: { width: `${share}%` } }),
    ),
    h('span', { class: 'soft num' }, `${number(used)}/${number(of)}`),
  );
}

export function loading(text = 'Loading') {
  return h(
    'div',
    { class: 'loading', role: 'status' },
    h('span', { class: 'spinner', 'aria-hidden': 'true' }),
    `${text} …`,
  );
}

export function empty(title, text, ...actions) {
  return h(
    'div',
    { class: 'empty' },
    h('h2', {}, title),
    text && h('p', {}, text),
    actions.length > 0 && h('p', { class: 'row center' }, actions),
  );
}

/** What went wrong, in the server's words. */
export function failure(error, again) {
  const errors = (error.errors ?? [])
    .slice(0, 20)
    .map((e) => h('li', {}, e.pointer && h('code', {}, e.pointer), e.pointer && ' ', e.message));
  return h(
    'div',
    { class: 'failure', role: 'alert' },
    h('b', {}, error.title ?? 'Something went wrong'),
    h('p', {}, error.message),
    errors.length > 0 && h('ul', {}, errors),
    again && button('Try again', again),
  );
}

/** What a feed has: nothing yet, an error, or data drawn by `show`. Old data stays in sight while the server is away. */
export function shown(feed, show, waiting = loading()) {
  if (feed.data === undefined) return feed.error ? failure(feed.error, () => feed.now()) : waiting;
  const away = feed.error && h('div', { class: 'away', role: 'status' }, `Not up to date: ${feed.error.message}`);
  return [away, show(feed.data)];
}

/** A table that becomes a list of cards where there is little room; the first `lead` cells need no title there. */
export function table(titles, rows, lead = 1) {
  const cell = (content, index) => h('td', { 'data-title': (index >= lead && titles[index]) || undefined }, content);
  const row = ({ key, cells, ...more }) => h('tr', { key, ...more }, cells.map(cell));
  return h(
    'table',
    { class: 'cards' },
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        titles.map((title) => h('th', { scope: 'col' }, title)),
      ),
    ),
    h('tbody', {}, rows.map(row)),
  );
}

export function facts(...pairs) {
  const given = pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined);
  return h(
    'dl',
    { class: 'facts' },
    given.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );
}

/** Tabs that are links. */
export function tabs(label, all) {
  return h(
    'nav',
    { class: 'tabs', 'aria-label': label },
    all.map(([text, href, isHere]) => h('a', { href, 'aria-current': isHere ? 'page' : undefined }, text)),
  );
}

/** Links to the first and the next page of a list that is read by a cursor. */
export function pager(first, next) {
  return (
    (first || next) &&
    h(
      'nav',
      { class: 'pager', 'aria-label': 'Pages' },
      first ? h('a', { class: 'button plain', href: first }, '⇤ First page') : h('span'),
      next && h('a', { class: 'button plain', href: next }, 'Next page →'),
    )
  );
}

/** Says something in passing. */
export function toast(text, kind = 'good') {
  const place = document.getElementById('toasts');
  const said = document.createElement('p');
  said.className = `toast ${kind}`;
  said.textContent = text;
  place.append(said);
  setTimeout(() => said.remove(), 6000);
}
