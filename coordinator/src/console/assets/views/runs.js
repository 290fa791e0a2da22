// The runs, newest first. What they are filtered by stands in the address.

import { all, get } from '../api.js';
import { h } from '../dom.js';
import { input, select } from '../forms.js';
import { between, number } from '../format.js';
import { link, queryWith, replace } from '../router.js';
import {
  RUN_STATES,
  button,
  empty,
  hasEnded,
  iconButton,
  pager,
  pill,
  progress,
  runLink,
  shown,
  sign,
  table,
  time,
  words,
} from '../ui.js';
import { startRun } from './start.js';

const FILTERS = ['workflow', 'state', 'tag', 'waiting', 'q', 'since', 'until', 'parent', 'after'];
const WAITING = ['timer', 'event', 'input', 'worker'];
/** Names of workflows offered; a list of them carries their definitions. */
const NAMES = 200;
const TYPING_MS = 300;

export function runs(page) {
  const feed = page.feed(() => {});
  const names = page.feed((signal) => all(['workflows'], signal, NAMES));
  let typing = 0;
  feed.keep();
  names.now();
  page.follow(({ query }) => {
    const asked = Object.fromEntries(FILTERS.map((name) => [name, query.getAll(name)]));
    feed.turn((signal) => get(['runs'], asked, signal));
  });

  const filter = (changed) => replace(link(['runs'], queryWith({ ...changed, after: undefined })));
  const later = (changed) => {
    clearTimeout(typing);
    typing = setTimeout(() => filter(changed), TYPING_MS);
  };
  return () => ({
    title: 'Runs',
    body: [
      h(
        'div',
        { class: 'head' },
        h('h1', {}, 'Runs'),
        button('Start a run', () => startRun(page.place.query.get('workflow') ?? undefined), { kind: 'primary' }),
      ),
      filters(page.place.query, names.data ?? [], filter, later),
      shown(feed, ({ items, next }) => list(items, next, page.place.query)),
    ],
  });
}

function filters(query, known, filter, later) {
  const states = query.getAll('state').flatMap((text) => text.split(','));
  const isFiltered = FILTERS.some((name) => name !== 'after' && query.has(name));
  const flip = (state) =>
    filter({ state: states.includes(state) ? states.filter((s) => s !== state) : [...states, state] });
  const chip = (state) =>
    h(
      'button',
      {
        key: state,
        type: 'button',
        class: 'chip',
        'aria-pressed': String(states.includes(state)),
        onclick: () => flip(state),
      },
      sign(state),
      words(state),
    );
  const names = [...new Set([...known.map((w) => w.name), ...query.getAll('workflow')])];
  return h(
    'search',
    { class: 'filters' },
    h('div', { class: 'chips', role: 'group', 'aria-label': 'States' }, RUN_STATES.map(chip)),
    h(
      'div',
      { class: 'row' },
      input(query.get('q') ?? '', (q) => later({ q }), {
        type: 'search',
        placeholder: 'Part of an id or workflow',
        'aria-label': 'Text',
        class: 'grow',
      }),
      select(query.get('workflow') ?? '', [['', 'any workflow'], ...names], (workflow) => filter({ workflow }), {
        'aria-label': 'Workflow',
      }),
      select(
        query.get('waiting') ?? '',
        [['', 'waiting or not'], ...WAITING.map((w) => [w, `waits for ${w === 'worker' ? 'a worker' : `${w}s`}`])],
        (waiting) => filter({ waiting }),
        { 'aria-label': 'Waits for' },
      ),
      input(query.get('tag') ?? '', (tag) => later({ tag: /^[^:]+:/.test(tag) ? tag : undefined }), {
        placeholder: 'tag:value',
        'aria-label': 'Tag',
        size: '12',
      }),
      isFiltered && iconButton('close', 'Show all runs', () => replace(link(['runs']))),
    ),
    query.has('parent') && h('p', { class: 'hint' }, 'Runs called by ', runLink(query.get('parent'))),
  );
}

function list(items, next, query) {
  const first = query.has('after') && link(['runs'], queryWith({ after: undefined }));
  if (items.length === 0) {
    const isAny = FILTERS.some((name) => query.has(name));
    return isAny
      ? empty(
          'No run is like that',
          'Take a filter away, or look at all of them.',
          h('a', { class: 'button plain', href: link(['runs']) }, 'All runs'),
        )
      : empty(
          'No runs yet',
          'A run is one execution of a workflow.',
          button('Start the first', () => startRun(), { kind: 'primary' }),
          h('a', { class: 'button plain', href: link(['workflows']) }, 'Workflows'),
        );
  }
  const rows = items.map((run) => ({
    key: run.id,
    cells: [
      pill(run.state),
      h(
        'a',
        { class: 'strong', href: link(['runs', run.id]) },
        run.workflow,
        h('span', { class: 'soft' }, ` v${run.version}`),
      ),
      runLink(run.id, { tabindex: '-1' }),
      progress(run.progress, { isSmall: true }),
      tags(run.tags),
      time(run.created_at),
      run.started_at
        ? h('span', { class: 'num' }, between(run.started_at, hasEnded(run) ? run.finished_at : null))
        : '–',
    ],
  }));
  return [
    table(['State', 'Workflow', 'Run', 'Steps', 'Tags', 'Created', 'Took'], rows, 2),
    pager(first, next && link(['runs'], queryWith({ after: next }))),
  ];
}

/** Tags as links to the runs that have them. */
export function tags(of) {
  const all = Object.entries(of);
  const tag = ([key, value]) =>
    h('a', { key, class: 'tag', href: link(['runs'], { tag: `${key}:${value}` }) }, key, ': ', value);
  return (
    all.length > 0 &&
    h(
      'span',
      { class: 'tags' },
      all.slice(0, 4).map(tag),
      all.length > 4 && h('span', { class: 'soft' }, `+${number(all.length - 4)}`),
    )
  );
}
