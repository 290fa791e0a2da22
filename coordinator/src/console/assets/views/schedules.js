// What is started again and again.

import { del, get, post } from '../api.js';
import { ask, dialog } from '../dialog.js';
import { h } from '../dom.js';
import { JsonText } from '../forms.js';
import { absolute } from '../format.js';
import { write } from '../json.js';
import { go, link, queryWith } from '../router.js';
import { button, empty, facts, failure, loading, pager, runLink, shown, time, toast } from '../ui.js';
import { tags } from './runs.js';

const PACE_MS = 5000;
const NEXT = 8;

export function schedules(page) {
  const feed = page.feed(() => {});
  feed.keep(PACE_MS);
  page.follow(({ query }) => feed.turn((signal) => get(['schedules'], { after: query.get('after') }, signal)));
  return () => ({
    title: 'Schedules',
    body: [
      h('div', { class: 'head' }, h('h1', {}, 'Schedules')),
      shown(feed, ({ items, next }) => list(page, items, next, () => feed.now())),
    ],
  });
}

function list(page, items, next, again) {
  const first = page.place.query.has('after') && link(['schedules'], queryWith({ after: undefined }));
  if (items.length === 0 && !first)
    return empty('No schedules', ['Make one with ', h('code', {}, 'rejoin schedule create'), '.']);
  return [
    h(
      'ul',
      { class: 'deck' },
      items.map((one) => card(one, again)),
    ),
    pager(first, next && link(['schedules'], queryWith({ after: next }))),
  ];
}

function card(one, again) {
  const version = one.version ? ` v${one.version}` : '';
  // One that the coordinator cannot read has a name and a `last_error`, and does not say what it starts and when.
  const isRead = one.workflow !== undefined;
  const rhythm = one.cron
    ? [h('code', {}, one.cron), ` ${one.timezone ?? 'UTC'}`]
    : ['every ', h('code', {}, one.every)];
  return h(
    'li',
    { key: one.name, class: `panel card${one.paused ? ' is-paused' : ''}` },
    h(
      'div',
      { class: 'row between' },
      h('h2', {}, one.name),
      one.paused && h('span', { class: 'pill s-paused' }, 'paused'),
    ),
    facts(
      isRead && ['Workflow', [h('a', { href: link(['workflows', one.workflow]) }, one.workflow), version]],
      isRead && ['When', rhythm],
      ['Next', one.paused ? '–' : time(one.next_at)],
      ['Last run', one.last_run ? runLink(one.last_run) : '–'],
      isRead && ['Overlap', one.overlap ?? 'skip'],
      one.tags && Object.keys(one.tags).length > 0 && ['Tags', tags(one.tags)],
    ),
    one.last_error && h('p', { class: 'failure' }, one.last_error),
    h(
      'div',
      { class: 'row' },
      button('Trigger', () => trigger(one, again)),
      one.paused
        ? button('Resume', () => operate(one, 'resume', again))
        : button('Pause', () => operate(one, 'pause', again)),
      button('Next times', () => nextTimes(one)),
      button(
        'Delete',
        () => ask(`Delete ${one.name}?`, 'Its runs stay.', 'Delete', () => del(['schedules', one.name]), again),
        { kind: 'quiet danger' },
      ),
    ),
  );
}

function operate(one, verb, again) {
  const text =
    verb === 'pause'
      ? 'It starts nothing until it is resumed. What falls into the pause is not made up.'
      : 'It starts runs again from the next time on.';
  ask(
    `${verb === 'pause' ? 'Pause' : 'Resume'} ${one.name}?`,
    text,
    verb === 'pause' ? 'Pause' : 'Resume',
    () => post(['schedules', `${one.name}:${verb}`]),
    again,
    'primary',
  );
}

function trigger(one, again) {
  const text = new JsonText(one.input === undefined || one.input === null ? '' : write(one.input, true));
  dialog({
    title: `Trigger ${one.name}`,
    confirm: 'Start a run now',
    isReady: () => text.isOk,
    body: (redraw) => [
      h('p', {}, 'Starts one run now, whatever the overlap says.'),
      text.draw('Input (JSON)', redraw, { hint: 'Empty: the schedule’s own' }),
    ],
    act: () => post(['schedules', `${one.name}:trigger`], { input: text.raw }),
    done: (run) => {
      toast(`${run.workflow} started`);
      again();
      go(link(['runs', run.id]));
    },
  });
}

function nextTimes(one) {
  let body = loading();
  const opened = dialog({
    title: `Next times of ${one.name}`,
    body: () => [one.paused && h('p', { class: 'hint' }, 'If it were resumed now:'), body],
  });
  const item = (at) => h('li', { key: at }, absolute(at), ' ', h('span', { class: 'soft' }, time(at)));
  get(['schedules', one.name, 'next'], { n: NEXT })
    .then(({ items }) => (body = h('ol', { class: 'plain' }, items.map(item))))
    .catch((error) => (body = failure(error)))
    .finally(() => opened.redraw());
}
