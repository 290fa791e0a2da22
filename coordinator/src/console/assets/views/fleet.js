// Queues, workers and dead letters.

import { del, get, post } from '../api.js';
import { ask, dialog } from '../dialog.js';
import { h } from '../dom.js';
import { bytes, count, number } from '../format.js';
import { Unfolded, tree } from '../tree.js';
import { link } from '../router.js';
import { button, empty, facts, meter, runLink, shown, table, time, toast } from '../ui.js';

const LETTERS_MS = 10_000;
const ROWS = 200;

export function fleet(page) {
  const queues = page.feed((signal) => get(['queues'], { limit: ROWS }, signal)).keep();
  const workers = page.feed((signal) => get(['workers'], { limit: ROWS }, signal)).keep();
  const letters = page.feed((signal) => get(['dead-letters'], { limit: 50 }, signal)).keep(LETTERS_MS);
  for (const feed of [queues, workers, letters]) feed.now();
  return () => ({
    title: 'Fleet',
    body: [
      h('div', { class: 'head' }, h('h1', {}, 'Fleet')),
      section(
        'Queues',
        shown(queues, ({ items, next }) => [unserved(items), queueTable(items), rest(next)]),
      ),
      section(
        'Workers',
        shown(workers, ({ items, next }) => [workerTable(items), rest(next)]),
      ),
      section(
        'Dead letters',
        shown(letters, ({ items, next }) => [letterTable(items, () => letters.now()), rest(next)]),
      ),
    ],
  });
}

function section(title, ...body) {
  return h('section', { class: 'panel' }, h('h2', {}, title), body);
}

const rest = (next) => next && h('p', { class: 'hint' }, 'There are more; these are the first.');

/** The first thing to look at: work that nobody does. */
function unserved(queues) {
  const lines = queues.flatMap((queue) =>
    queue.unserved.map((handler) =>
      h(
        'li',
        { key: `${queue.name} ${handler}` },
        'No worker serves handler ',
        h('b', {}, handler),
        ' on queue ',
        h('b', {}, queue.name),
      ),
    ),
  );
  return (
    lines.length > 0 &&
    h(
      'div',
      { class: 'why is-stuck', role: 'status' },
      h('ul', {}, lines),
      h('a', { href: link(['runs'], { waiting: 'worker' }) }, 'Runs that wait for a worker'),
    )
  );
}

function queueTable(items) {
  if (items.length === 0) return empty('No queues', 'There is one as soon as a worker or a step names it.');
  const rows = items.map((queue) => ({
    key: queue.name,
    cells: [
      h('b', {}, queue.name),
      h('span', { class: 'num', title: 'dispatched, and not recorded yet' }, number(queue.depth)),
      h('span', { class: 'num', title: 'due, and not dispatched yet' }, number(queue.waiting)),
      h('span', { class: queue.workers === 0 ? 'bad num' : 'num' }, number(queue.workers)),
      meter(queue.busy, queue.slots),
      queue.unserved.length > 0
        ? h('span', { class: 'bad' }, queue.unserved.join(', '))
        : h('span', { class: 'soft' }, 'none'),
    ],
  }));
  return table(['Queue', 'Depth', 'Waiting', 'Workers', 'Slots in use', 'Handlers nobody serves'], rows);
}

function workerTable(items) {
  if (items.length === 0)
    return empty('No worker reports', ['Start one with ', h('code', {}, 'rejoin worker --handlers FILE'), '.']);
  const rows = items.map((worker) => ({
    key: worker.incarnation,
    cells: [
      [
        h('b', { title: worker.incarnation }, worker.name),
        worker.draining && h('span', { class: 'pill s-paused' }, 'draining'),
      ],
      worker.queues.join(', '),
      meter(worker.busy, worker.slots),
      h('span', { class: 'num' }, number(worker.held)),
      h(
        'details',
        { class: 'quiet' },
        h('summary', {}, count(worker.handlers.length, 'handler')),
        h('p', { class: 'mono small' }, worker.handlers.join(', ')),
      ),
      time(worker.started_at),
      time(worker.last_seen_at),
    ],
  }));
  return table(['Worker', 'Queues', 'Slots in use', 'Holds', 'Handlers', 'Started', 'Last report'], rows);
}

function letterTable(items, again) {
  if (items.length === 0)
    return empty(
      'No dead letters',
      'Messages that the broker gave up, and steps that killed their workers, come here.',
    );
  const rows = items.map((letter) => ({
    key: letter.id,
    cells: [
      h('b', {}, letter.reason),
      letter.kind,
      letter.queue ?? '–',
      letter.run ? [runLink(letter.run), ' ', h('span', { class: 'mono small' }, letter.path ?? '')] : '–',
      time(letter.at),
      bytes(letter.bytes),
      h(
        'span',
        { class: 'row' },
        button('Look', () => look(letter)),
        button('Replay', () =>
          ask(
            'Replay this letter?',
            replayed(letter),
            'Replay',
            () => post(['dead-letters', `${letter.id}:replay`]),
            () => said('Replayed', again),
            'primary',
          ),
        ),
        button(
          'Drop',
          () =>
            ask(
              'Drop this letter?',
              'It is gone then. The run it belongs to is not changed.',
              'Drop',
              () => del(['dead-letters', letter.id]),
              () => said('Dropped', again),
            ),
          { kind: 'quiet danger' },
        ),
      ),
    ],
  }));
  return table(['Reason', 'Kind', 'Queue', 'Run', 'When', 'Size', ''], rows);
}

function said(text, again) {
  toast(text);
  again();
}

function replayed(letter) {
  return letter.reason === 'rejoin.poison'
    ? 'Its run is resumed: the step that killed its workers goes out again.'
    : `It is sent again to queue ${letter.queue}, and leaves this list.`;
}

function look(letter) {
  const [input, message] = [new Unfolded(), new Unfolded()];
  const body = (redraw) => [
    facts(
      ['Id', h('code', {}, letter.id)],
      letter.handler && ['Handler', letter.handler],
      letter.path && ['Path', h('code', {}, letter.path)],
    ),
    letter.input !== null && [h('h3', {}, 'Input'), tree(letter.input, input, redraw)],
    h('h3', {}, 'Message'),
    letter.body === null
      ? h('p', { class: 'soft' }, 'No JSON, or too large to be shown.')
      : tree(letter.body, message, redraw),
  ];
  dialog({ title: letter.reason, isWide: true, body });
}
