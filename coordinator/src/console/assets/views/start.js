// Starting a run.

import { all, get, post } from '../api.js';
import { dialog } from '../dialog.js';
import { h } from '../dom.js';
import { JsonText, field, input, select, skeleton } from '../forms.js';
import { write } from '../json.js';
import { go, link } from '../router.js';
import { failure, loading, toast } from '../ui.js';

const PRIORITIES = ['high', 'normal', 'low'];

/** Asks for a workflow and its input, starts it and goes to the run. `from` is a run whose input is taken to begin with. */
export function startRun(workflow, from) {
  const form = new Start(workflow, from);
  form.opened = dialog({
    title: 'Start a run',
    confirm: 'Start',
    isWide: true,
    isReady: () => form.isReady,
    body: (redraw) => form.draw(redraw),
    act: () => form.start(),
    done: (run) => {
      toast(`${run.workflow} started`);
      go(link(['runs', run.id]));
    },
  });
  form.load();
}

class Start {
  constructor(workflow, from) {
    this.name = workflow ?? '';
    this.version = from ? String(from.version) : '';
    this.input = new JsonText(from ? write(from.input, true) : '');
    this.isOwn = from !== undefined;
    this.known = null;
    this.error = null;
    this.schema = null;
    this.more = { key: '', tags: '', priority: 'normal', at: '' };
  }

  async load() {
    try {
      this.known = (await all(['workflows'])).map((w) => w.name);
      if (!this.known.includes(this.name)) this.name = this.known[0] ?? '';
      await this.choose(this.name);
    } catch (error) {
      this.error = error;
    }
    this.opened.redraw();
  }

  /** Takes another workflow; the input begins anew from its schema unless a person has written one. */
  async choose(name) {
    if (name === '') return;
    this.name = name;
    const { definition, version } = await get(['workflows', name]);
    if (name !== this.name) return;
    this.newest = version;
    this.schema = definition.input ?? null;
    if (!this.isOwn) this.input.text = this.schema ? write(skeleton(this.schema), true) : '{}';
  }

  get isReady() {
    return this.name !== '' && this.input.isOk && this.tags !== undefined;
  }

  /** Tags as `key: value` a line; nothing where a line is none. */
  get tags() {
    const lines = this.more.tags
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean);
    const pairs = lines.map((line) => line.split(/\s*[:=]\s*(.*)/s).slice(0, 2));
    return pairs.every(([key, value]) => key && value !== undefined) ? Object.fromEntries(pairs) : undefined;
  }

  start() {
    const { key, priority, at } = this.more;
    return post(['workflows', this.name, 'runs'], {
      input: this.input.raw,
      version: this.version.trim() ? Number(this.version) : undefined,
      idempotency_key: key || undefined,
      tags: Object.keys(this.tags).length > 0 ? this.tags : undefined,
      priority: priority === 'normal' ? undefined : priority,
      at: at ? new Date(at).toISOString() : undefined,
    });
  }

  draw(redraw) {
    if (this.error) return failure(this.error);
    if (!this.known) return loading();
    if (this.known.length === 0)
      return h(
        'p',
        {},
        'There is no workflow yet. Register one with ',
        h('code', {}, 'rejoin workflow apply FILE'),
        '.',
      );
    const choose = (name) => {
      this.version = '';
      this.choose(name)
        .catch((error) => (this.error = error))
        .finally(redraw);
    };
    const set = (name) => (value) => {
      this.more[name] = value;
      redraw();
    };
    const typed = () => {
      this.isOwn = true;
      redraw();
    };
    return [
      field('Workflow', () => select(this.name, this.known, choose, { autofocus: true })),
      this.input.draw('Input (JSON)', typed, { rows: 10, hint: 'Empty: null' }),
      this.schema &&
        h(
          'details',
          { class: 'quiet' },
          h('summary', {}, 'What the input has to be'),
          h('pre', { class: 'code' }, write(this.schema, true)),
        ),
      h(
        'details',
        { class: 'quiet' },
        h('summary', {}, 'More: tags, priority, version, time'),
        h(
          'div',
          { class: 'field' },
          h(
            'label',
            {},
            h('span', {}, 'Tags'),
            h('textarea', {
              rows: 2,
              class: 'mono',
              value: this.more.tags,
              placeholder: 'team: billing',
              oninput: (e) => set('tags')(e.target.value),
            }),
          ),
          h('p', { class: this.tags === undefined ? 'hint bad' : 'hint' }, 'key: value, one a line'),
        ),
        h(
          'div',
          { class: 'columns' },
          field('Priority', () => select(this.more.priority, PRIORITIES, set('priority'))),
          field('Version', () =>
            input(
              this.version,
              (text) => {
                this.version = text;
                redraw();
              },
              { inputmode: 'numeric', placeholder: `newest (${this.newest ?? '…'})` },
            ),
          ),
          field('Not before', () => input(this.more.at, set('at'), { type: 'datetime-local' })),
          field('Idempotency key', () => input(this.more.key, set('key')), 'The same key starts one run.'),
        ),
      ),
    ];
  }
}
