// Questions that wait for people.

import { get, post } from '../api.js';
import { dialog } from '../dialog.js';
import { h } from '../dom.js';
import { JsonText, SchemaForm, check, field, input, select, skeleton } from '../forms.js';
import { write } from '../json.js';
import { link, queryWith } from '../router.js';
import { button, empty, facts, pager, runLink, shown, time, toast } from '../ui.js';

export function inputs(page) {
  const feed = page.feed(() => {});
  feed.keep();
  page.follow(({ query }) => feed.turn((signal) => get(['inputs'], { after: query.get('after') }, signal)));
  return () => ({
    title: 'Inputs',
    body: [
      h('div', { class: 'head' }, h('h1', {}, 'Inputs')),
      shown(feed, ({ items, next }) => list(page, items, next, () => feed.now())),
    ],
  });
}

function list(page, items, next, again) {
  const first = page.place.query.has('after') && link(['inputs'], queryWith({ after: undefined }));
  if (items.length === 0 && !first)
    return empty(
      'Nobody waits for an answer',
      'A workflow asks with wait: … input. Its questions are listed here until they are answered.',
    );
  return [
    h(
      'ul',
      { class: 'deck' },
      items.map((one) => card(one, again)),
    ),
    pager(first, next && link(['inputs'], queryWith({ after: next }))),
  ];
}

function card(one, again) {
  return h(
    'li',
    { key: `${one.run}${one.path}`, class: 'panel card' },
    h('p', { class: 'question' }, one.prompt ?? one.name),
    facts(
      ['Run', runLink(one.run)],
      ['Workflow', h('a', { href: link(['workflows', one.workflow]) }, one.workflow)],
      ['Asked', time(one.created_at)],
      one.timeout_at && ['Until', time(one.timeout_at)],
    ),
    h('p', { class: 'soft mono small' }, one.path),
    answers(one, again),
  );
}

/** The quick ways to answer where there are two or three, and the dialog. */
export function answers(one, again) {
  const send = (value) => async () => {
    try {
      await submit(one, value);
      again();
    } catch (error) {
      toast(error.message, 'bad');
    }
  };
  if (one.type === 'approval' && !one.schema) {
    const confirmed = (value, text, kind) => () =>
      dialog({ title: text, kind, confirm: text, body: () => h('p', {}, one.prompt ?? one.name), act: send(value) });
    return h(
      'div',
      { class: 'row' },
      button('Approve', confirmed({ approved: true }, 'Approve', 'primary'), { kind: 'primary' }),
      button('Refuse', confirmed({ approved: false }, 'Refuse', 'danger'), { kind: 'danger' }),
    );
  }
  return h(
    'div',
    { class: 'row' },
    button('Answer', () => answer(one, again), { kind: 'primary' }),
  );
}

const submit = (one, value) => post(['runs', one.run, 'inputs', one.name], { value, path: one.path });

/** Opens the dialog that fits the question. */
export function answer(one, again) {
  const asked = controlOf(one);
  dialog({
    title: 'Answer',
    confirm: 'Send',
    isReady: () => asked.isReady,
    body: (redraw) => [h('p', { class: 'question' }, one.prompt ?? one.name), asked.draw(redraw)],
    act: () => submit(one, asked.value),
    done: () => {
      toast('Answered');
      again();
    },
  });
}

function controlOf(one) {
  if (one.type === 'choice') return new Choice(one.choices ?? []);
  if (one.type === 'text' && !one.schema) return new Text();
  return SchemaForm.of(one.schema) ?? (one.type === 'approval' && !one.schema ? new Approval() : new Json(one.schema));
}

class Choice {
  constructor(choices) {
    this.choices = choices;
    this.at = '-1';
  }

  get isReady() {
    return this.at !== '-1';
  }

  get value() {
    return this.choices[Number(this.at)];
  }

  draw(redraw) {
    const options = this.choices.map((one, i) => [String(i), typeof one === 'string' ? one : write(one)]);
    return field('Choice', () =>
      select(this.at, [['-1', 'choose …'], ...options], (at) => {
        this.at = at;
        redraw();
      }),
    );
  }
}

class Text {
  value = '';
  isReady = true;

  draw(redraw) {
    return field('Answer', () =>
      input(
        this.value,
        (text) => {
          this.value = text;
          redraw();
        },
        { autofocus: true },
      ),
    );
  }
}

class Approval {
  value = { approved: false };
  isReady = true;

  draw(redraw) {
    return check('Approved', this.value.approved, (approved) => {
      this.value = { approved };
      redraw();
    });
  }
}

class Json {
  constructor(schema) {
    this.schema = schema;
    this.text = new JsonText(schema ? write(skeleton(schema), true) : '');
  }

  get isReady() {
    return this.text.isOk && this.text.raw !== undefined;
  }

  get value() {
    return this.text.raw;
  }

  draw(redraw) {
    return [
      this.text.draw('Answer (JSON)', redraw),
      this.schema &&
        h(
          'details',
          { class: 'quiet' },
          h('summary', {}, 'What it has to be'),
          h('pre', { class: 'code' }, write(this.schema, true)),
        ),
    ];
  }
}
