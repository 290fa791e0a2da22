// The workflows, each by its newest version.

import { get } from '../api.js';
import { h } from '../dom.js';
import { link, queryWith } from '../router.js';
import { button, empty, pager, shown, table, time } from '../ui.js';
import { startRun } from './start.js';

const PACE_MS = 10_000;

export function workflows(page) {
  const feed = page.feed(() => {});
  feed.keep(PACE_MS);
  page.follow(({ query }) => feed.turn((signal) => get(['workflows'], { after: query.get('after') }, signal)));
  return () => ({
    title: 'Workflows',
    body: [
      h('div', { class: 'head' }, h('h1', {}, 'Workflows')),
      shown(feed, ({ items, next }) => list(items, next, page.place.query)),
    ],
  });
}

function list(items, next, query) {
  const first = query.has('after') && link(['workflows'], queryWith({ after: undefined }));
  if (items.length === 0 && !first) {
    return empty('No workflows yet', [
      'Register one with ',
      h('code', {}, 'rejoin workflow apply FILE'),
      ', or put a file into the folder of ',
      h('code', {}, 'rejoin dev'),
      '.',
    ]);
  }
  const rows = items.map((w) => ({
    key: w.name,
    cells: [
      h('a', { class: 'strong', href: link(['workflows', w.name]) }, w.name),
      h('span', { class: 'num' }, w.version),
      w.description ?? h('span', { class: 'soft' }, '–'),
      time(w.created_at),
      h(
        'span',
        { class: 'row' },
        h('a', { class: 'button plain', href: link(['runs'], { workflow: w.name }) }, 'Runs'),
        button('Start', () => startRun(w.name)),
      ),
    ],
  }));
  return [
    table(['Workflow', 'Version', 'Description', 'Registered', ''], rows),
    pager(first, next && link(['workflows'], queryWith({ after: next }))),
  ];
}
