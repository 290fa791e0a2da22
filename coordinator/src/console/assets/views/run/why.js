// What a run waits for: the first thing to see of one that does not go on.

import { get } from '../../api.js';
import { h } from '../../dom.js';
import { count, number } from '../../format.js';
import { write } from '../../json.js';
import { link } from '../../router.js';
import { button, hasEnded, runLink, shown, sign, time, toast, words } from '../../ui.js';
import { answer } from '../inputs.js';
import { editScope, sendEvent } from './operations.js';

const GROUPS = 6;
const WAITS = 8;
/** Explanations of a run that only goes on stay small. */
const CALM = new Set(['running', 'scheduled']);

export function why(run, is) {
  if (is.state === 'completed') return null;
  const calm = h('p', { class: 'soft' }, 'Asking what it waits for …');
  return h(
    'section',
    { class: `why ${mood(is, run.why.data)}`, 'aria-label': 'Why' },
    shown(run.why, (w) => explained(run, is, w), calm),
  );
}

/** A stuck run is one that goes on only when a person does something. */
function mood(is, w) {
  if (is.state === 'failed' || is.state === 'compensation_failed') return 'is-failed';
  const isStuck =
    w &&
    (w.missing.some((m) => m.state === 'parked' || m.reason.startsWith('no worker')) ||
      w.waits.some((wait) => wait.type === 'parked'));
  if (isStuck) return 'is-stuck';
  return CALM.has(is.state) ? 'is-calm' : 'is-waiting';
}

function explained(run, is, w) {
  const isOpen = mood(is, w) !== 'is-calm';
  const details = [w.error && error(w.error), missing(run, w), waits(run, w), scopes(run, w)];
  if (details.every((detail) => !detail)) return h('p', { class: 'why-summary' }, w.summary);
  return h(
    'details',
    { open: isOpen, key: isOpen ? 'open' : 'calm' },
    h('summary', {}, h('span', { class: 'why-summary' }, w.summary)),
    details,
  );
}

/** An error as the engine has it; see SPEC 3. */
export function error(of) {
  if (!of) return null;
  const causes = of.causes ?? [];
  return h(
    'div',
    { class: 'error' },
    h(
      'p',
      {},
      h('b', { class: 'mono' }, of.type),
      of.path && h('span', { class: 'soft mono small' }, ` at ${of.path}`),
      of.attempt && h('span', { class: 'soft small' }, `, attempt ${of.attempt}`),
    ),
    of.message && h('p', {}, of.message),
    of.details &&
      Object.keys(of.details).length > 0 &&
      h(
        'details',
        { class: 'quiet' },
        h('summary', {}, 'Details'),
        h('pre', { class: 'code' }, write(of.details, true)),
      ),
    causes.length > 0 &&
      h(
        'details',
        { class: 'quiet' },
        h('summary', {}, count(causes.length, 'cause')),
        causes.slice(0, 10).map(error),
        causes.length > 10 && h('p', { class: 'soft' }, `${number(causes.length - 10)} more`),
      ),
  );
}

function missing(run, w) {
  if (w.missing.length === 0 || hasEnded(w)) return null;
  const group = (m) =>
    h(
      'li',
      { key: `${m.node} ${m.state} ${m.attempt} ${m.worker} ${m.path}` },
      sign(m.state),
      h(
        'div',
        {},
        h(
          'p',
          {},
          h('b', { class: 'num' }, count(m.count, 'step')),
          ' ',
          h(
            'a',
            {
              class: 'mono',
              href: link(['runs', run.id, 'steps'], { path: m.path, state: m.count === 1 ? undefined : m.state }),
            },
            m.node,
          ),
          ' ',
          m.reason,
        ),
        h(
          'p',
          { class: 'soft small' },
          [
            words(m.state),
            m.attempt > 1 && `attempt ${m.attempt}`,
            m.handler && `${m.handler} on queue ${m.queue}`,
            m.branches && `branches ${short(m.branches)}`,
          ]
            .filter(Boolean)
            .join(' · '),
          m.next_retry_at && [' · next try ', time(m.next_retry_at)],
        ),
        m.last_error &&
          h('p', { class: 'small' }, h('b', { class: 'mono' }, m.last_error.type), ' ', m.last_error.message),
      ),
    );
  const rest = w.missing.length - GROUPS;
  return [
    h('ul', { class: 'why-list' }, w.missing.slice(0, GROUPS).map(group)),
    rest > 0 &&
      h(
        'p',
        { class: 'soft small' },
        h(
          'a',
          { href: link(['runs', run.id, 'steps'], { state: ['pending', 'running', 'retrying', 'parked', 'failed'] }) },
          `${number(rest)} more groups`,
        ),
      ),
  ];
}

const short = (ranges) => (ranges.length > 60 ? `${ranges.slice(0, 60)} …` : ranges);

function waits(run, w) {
  if (w.waits.length === 0) return null;
  const rest = w.waits.length - WAITS;
  return [
    h(
      'ul',
      { class: 'why-list' },
      w.waits.slice(0, WAITS).map((wait) => one(run, wait)),
    ),
    rest > 0 && h('p', { class: 'soft small' }, `${number(rest)} more`),
  ];
}

const SAID = {
  timer: () => 'sleeps',
  input: (wait) => wait.prompt ?? 'waits for an answer',
  event: (wait) => [
    'waits for ',
    h('b', {}, (wait.events ?? []).join(', ')),
    (wait.received ?? []).length > 0 && `, has ${wait.received.join(', ')}`,
  ],
  child: (wait) => ['waits for run ', wait.run ? runLink(wait.run) : '–'],
  worker: (wait) => wait.reason,
  parked: (wait) => wait.reason,
};

function one(run, wait) {
  const again = () => run.again();
  const act = {
    input: () => button('Answer', () => answerAt(run, wait), { kind: 'primary' }),
    event: () => button('Send', () => sendEvent(run, wait.events ?? [])),
  }[wait.type];
  return h(
    'li',
    { key: `${wait.type} ${wait.path}` },
    sign(wait.type === 'parked' ? 'parked' : wait.type === 'worker' ? 'pending' : 'waiting'),
    h(
      'div',
      { class: 'grow' },
      h('p', {}, (SAID[wait.type] ?? (() => wait.type))(wait)),
      h(
        'p',
        { class: 'soft small' },
        h('span', { class: 'mono' }, wait.path),
        wait.until && [wait.type === 'timer' ? ' · ends ' : ' · times out ', time(wait.until)],
      ),
    ),
    act?.(again),
  );
}

/** A wait tells its question only; how it may be answered stands in the list of inputs. */
async function answerAt(run, wait) {
  try {
    let after;
    do {
      const page = await get(['inputs'], { limit: 1000, after });
      const found = page.items.find((one) => one.run === run.head.data.id && one.path === wait.path);
      if (found) return answer(found, () => run.again());
      after = page.next;
    } while (after);
    toast('It is answered already', 'bad');
  } catch (problem) {
    toast(problem.message, 'bad');
  }
  return undefined;
}

function scopes(run, w) {
  if (w.scopes.length === 0 || hasEnded(w)) return null;
  const line = (s) =>
    h(
      'li',
      { key: s.path },
      h('span', { class: 'mono' }, s.path),
      ` ${number(s.ok)} ok, ${number(s.failed)} failed, ${number(s.running)} running of ${number(s.total)}`,
      s.missing && h('span', { class: 'soft' }, ` · missing ${short(s.missing)} `),
      button('Edit …', () => editScope(run, s.path), { kind: 'quiet small' }),
    );
  const rest = w.scopes.length - GROUPS;
  return h(
    'details',
    { class: 'quiet' },
    h('summary', {}, count(w.scopes.length, 'open join')),
    h('ul', { class: 'plain' }, w.scopes.slice(0, GROUPS).map(line)),
    rest > 0 && h('p', { class: 'soft' }, `${number(rest)} more`),
  );
}
