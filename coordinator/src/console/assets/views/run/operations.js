// What can be done to a run, each after a question.

import { del, patch, post } from '../../api.js';
import { ask, dialog } from '../../dialog.js';
import { h } from '../../dom.js';
import { JsonText, check, field, input, select } from '../../forms.js';
import { count, number } from '../../format.js';
import { go, link } from '../../router.js';
import { button, failure, hasEnded, loading, toast } from '../../ui.js';
import { startRun } from '../start.js';

const CAN = {
  pause: (is) => ['running', 'waiting'].includes(is.state),
  // What has undone all it did is over.
  resume: (is) => ['paused', 'compensation_failed'].includes(is.state) || (is.state === 'failed' && !is.compensated),
  cancel: (is) => !hasEnded(is),
  fork: (is) => is.state !== 'scheduled',
  event: (is) => !hasEnded(is),
  delete: (is) => hasEnded(is),
};

export function operations(run, is) {
  const can = (name) => CAN[name](is);
  return h(
    'div',
    { class: 'row' },
    can('resume') && button('Resume', () => resume(run), { kind: 'primary' }),
    can('pause') && button('Pause', () => pauseRun(run)),
    can('cancel') && button('Cancel', () => cancel(run), { kind: 'danger' }),
    h(
      'details',
      { class: 'menu' },
      h('summary', { class: 'button plain' }, 'More'),
      h(
        'div',
        { class: 'menu-body' },
        can('fork') && button('Fork …', () => fork(run, is), { kind: 'quiet' }),
        button('Start again …', () => startRun(is.workflow, is), { kind: 'quiet' }),
        can('event') &&
          button(
            'Send an event …',
            () =>
              sendEvent(
                run,
                is.waits.flatMap((wait) => wait.events ?? []),
              ),
            { kind: 'quiet' },
          ),
        can('delete') && button('Delete …', () => remove(run), { kind: 'quiet danger' }),
      ),
    ),
  );
}

function done(run, text) {
  return () => {
    toast(text);
    run.again();
  };
}

function pauseRun(run) {
  ask(
    'Pause this run?',
    'Nothing new is dispatched; what is in flight is recorded when it ends.',
    'Pause',
    () => post(['runs', run.id, 'pause']),
    done(run, 'Paused'),
    'primary',
  );
}

function cancel(run) {
  const state = { reason: '', compensate: false };
  dialog({
    title: 'Cancel this run?',
    confirm: 'Cancel the run',
    kind: 'danger',
    body: (redraw) => [
      h('p', {}, 'It ends for good. What is in flight may still finish, and changes nothing.'),
      field('Reason', () => input(state.reason, (text) => (state.reason = text))),
      check('Undo what it did first (compensate)', state.compensate, (on) => {
        state.compensate = on;
        redraw();
      }),
    ],
    act: () =>
      post(['runs', run.id, 'cancel'], {
        reason: state.reason || undefined,
        compensate: state.compensate || undefined,
      }),
    done: done(run, 'Cancelled'),
  });
}

/** Shows the plan before anything is resumed. */
function resume(run) {
  let plan = null;
  let failed = null;
  const opened = dialog({
    title: 'Resume this run?',
    confirm: 'Resume',
    isReady: () => plan !== null,
    body: () => (failed ? failure(failed) : plan ? planned(plan) : loading('Working out what would be dispatched')),
    act: () => post(['runs', run.id, 'resume']),
    done: done(run, 'Resumed'),
  });
  post(['runs', run.id, 'resume'], {}, { plan: 'true' })
    .then((answer) => (plan = answer))
    .catch((error) => (failed = error))
    .finally(() => opened.redraw());
}

const PATHS = 50;

function planned(plan) {
  const rest = plan.dispatch_count - Math.min(plan.dispatch.length, PATHS);
  return [
    h(
      'div',
      { class: 'figures' },
      figure(plan.dispatch_count, 'to dispatch'),
      figure(plan.kept_count, 'kept'),
      figure(plan.messages, 'messages at least'),
    ),
    h(
      'ul',
      { class: 'plain mono small scroll' },
      plan.dispatch.slice(0, PATHS).map((path) => h('li', { key: path }, path)),
      rest > 0 && h('li', { class: 'soft' }, `and ${number(rest)} more`),
    ),
    plan.dispatch_count === 0 && h('p', {}, 'No step is to be dispatched: it goes on with what waits for nobody.'),
  ];
}

const figure = (n, text) => h('div', { class: 'figure' }, h('b', { class: 'num' }, number(n)), h('span', {}, text));

/** A new run with the same past. `at` is a record; the last one without it. */
export function fork(run, is, at) {
  const state = { at: at ? String(at) : '', version: '', input: new JsonText('') };
  const isNumber = (text) => text === '' || /^[1-9]\d*$/.test(text);
  const typed = (name, redraw) => (text) => {
    state[name] = text.trim();
    redraw();
  };
  dialog({
    title: 'Fork this run',
    confirm: 'Fork',
    isReady: () => isNumber(state.at) && isNumber(state.version) && state.input.isOk,
    body: (redraw) => [
      h('p', {}, 'A new run with the same past up to a record, and a future of its own. This one stays as it is.'),
      h(
        'div',
        { class: 'columns' },
        field('At record', () =>
          input(state.at, typed('at', redraw), { inputmode: 'numeric', placeholder: `the last (${number(run.seq)})` }),
        ),
        field('Version', () =>
          input(state.version, typed('version', redraw), {
            inputmode: 'numeric',
            placeholder: `the same (${is.version})`,
          }),
        ),
      ),
      state.input.draw('Another input (JSON)', redraw, { rows: 4, hint: 'Empty: the same' }),
    ],
    act: () =>
      post(['runs', run.id, 'fork'], {
        at: state.at ? Number(state.at) : undefined,
        version: state.version ? Number(state.version) : undefined,
        input: state.input.raw,
      }),
    done: (made) => {
      toast('Forked');
      go(link(['runs', made.id]));
    },
  });
}

/** Sends an event to the run; `names` are those it waits for. */
export function sendEvent(run, names) {
  const state = { event: names[0] ?? '', payload: new JsonText('') };
  const set = (redraw) => (event) => {
    state.event = event;
    redraw();
  };
  const typed = (redraw) =>
    h('input', {
      type: 'text',
      value: state.event,
      oninput: (e) => set(redraw)(e.target.value),
      spellcheck: 'false',
      autocomplete: 'off',
    });
  dialog({
    title: 'Send an event',
    confirm: 'Send',
    isReady: () => state.event !== '' && state.payload.isOk,
    body: (redraw) => [
      field('Event', () => (names.length > 1 ? select(state.event, names, set(redraw)) : typed(redraw))),
      state.payload.draw('Payload (JSON)', redraw, { rows: 5, hint: 'Empty: none' }),
    ],
    act: () => post(['runs', run.id, 'events'], { event: state.event, payload: state.payload.raw }),
    done: done(run, 'Sent'),
  });
}

function remove(run) {
  ask(
    'Delete this run?',
    'Its journal goes with it. Runs forked from it stay.',
    'Delete',
    () => del(['runs', run.id]),
    () => {
      toast('Deleted');
      go(link(['runs']));
    },
  );
}

/** Edits an open scope: the next branches begin, and the join is judged, by what is set here. */
export function editScope(run, path) {
  const state = { concurrency: '', need: '', tolerate: '' };
  const value = (text) => (text === '' ? undefined : /^\d+$/.test(text) ? Number(text) : text);
  const set = (name, redraw) => (text) => {
    state[name] = text.trim();
    redraw();
  };
  const one = (name, placeholder, redraw) => field(name, () => input(state[name], set(name, redraw), { placeholder }));
  dialog({
    title: 'Edit this scope',
    confirm: 'Edit',
    isReady: () => Object.values(state).some((text) => text !== ''),
    body: (redraw) => [
      h('p', { class: 'mono small' }, path),
      h('p', {}, 'What is left empty stays as it is. Of need and tolerate one takes the place of the other.'),
      h(
        'div',
        { class: 'columns' },
        one('concurrency', '8, or unbounded', redraw),
        one('need', 'all, any, 5 or 80%', redraw),
        one('tolerate', '3 or 5%', redraw),
      ),
    ],
    act: () =>
      patch(['runs', run.id, 'scopes'], {
        path,
        concurrency: value(state.concurrency),
        need: value(state.need),
        tolerate: value(state.tolerate),
      }),
    done: done(run, 'Edited'),
  });
}

const VERBS = {
  retry: ['Retry', 'Tries them again, with a fresh budget.', 'primary'],
  skip: ['Skip', 'Takes them to have returned this value.', 'primary'],
  fail: ['Fail', 'They fail with this error: a parked step gives up, a failed one fails with this instead.', 'danger'],
};

/** Retries, skips or fails steps. `which` names them as the API does: `{path}`, or `{all, error_type}`. */
export function operateSteps(run, verb, which, said) {
  const [title, text, kind] = VERBS[verb];
  const json = new JsonText('');
  const error = { type: '', message: '' };
  const typed = (name) => (value) => (error[name] = value.trim());
  const asked = {
    retry: (redraw) => json.draw('Another input (JSON)', redraw, { rows: 5, hint: 'Empty: the same as before' }),
    skip: (redraw) => json.draw('Value (JSON)', redraw, { rows: 5, hint: 'Empty: null' }),
    fail: () => [
      field('Type', () => input(error.type, typed('type'), { placeholder: 'handler.error' })),
      field('Message', () => input(error.message, typed('message'))),
    ],
  }[verb];
  const sent = {
    retry: () => ({ input: json.raw }),
    skip: () => ({ value: json.raw }),
    fail: () => ({
      error:
        error.type || error.message
          ? { type: error.type || undefined, message: error.message || undefined }
          : undefined,
    }),
  }[verb];
  dialog({
    title: `${title} ${said}?`,
    confirm: title,
    kind,
    isReady: () => json.isOk,
    body: (redraw) => [h('p', {}, text), which.path && h('p', { class: 'mono small' }, which.path), asked(redraw)],
    act: () => post(['runs', run.id, 'steps', verb], { ...which, ...sent() }),
    done: done(run, `${title}: done`),
  });
}

/** Buttons for steps that are parked or failed. */
export function stepButtons(run, which, said = 'this step') {
  return h(
    'div',
    { class: 'row' },
    ['retry', 'skip', 'fail'].map((verb) =>
      button(VERBS[verb][0], () => operateSteps(run, verb, which, said), {
        key: verb,
        kind: verb === 'fail' ? 'quiet danger' : 'plain',
      }),
    ),
  );
}

/** One row of buttons for all steps with one type of error, where several have it. */
export function bulkButtons(run, steps) {
  const types = new Map();
  for (const step of steps) {
    if (['parked', 'failed'].includes(step.state) && step.error)
      types.set(step.error.type, (types.get(step.error.type) ?? 0) + 1);
  }
  const many = [...types].filter(([, n]) => n > 1).slice(0, 3);
  return many.map(([type, n]) =>
    h(
      'div',
      { key: type, class: 'row bulk' },
      h('span', {}, `${count(n, 'step')} here with `, h('b', { class: 'mono' }, type), '. All in this run:'),
      stepButtons(run, { all: true, error_type: type }, `all with ${type}`),
    ),
  );
}
