// The steps of a run: a list by state and place, and those of one node of the structure.

import { get } from '../../api.js';
import { h } from '../../dom.js';
import { input } from '../../forms.js';
import { between, count, number } from '../../format.js';
import { link, queryWith, replace } from '../../router.js';
import { Unfolded, tree } from '../../tree.js';
import { STEP_STATES, button, empty, facts, pager, pill, shown, sign, time, words } from '../../ui.js';
import { bulkButtons, stepButtons } from './operations.js';
import { error } from './why.js';

const ROWS = 50;
const TYPING_MS = 400;
/** What of a node is looked for first: those in trouble, then those at work. */
const INTERESTING = ['failed', 'parked', 'retrying', 'running'];
/** Steps looked at for one node of a large run, and shown of them. */
const LOOKED_AT = 500;
const SHOWN = 12;

export class Steps {
  constructor(page, run) {
    this.page = page;
    this.run = run;
    this.open = new Set();
    this.trees = new Map();
    this.feed = page.feed(null);
    this.typing = 0;
    let asked;
    page.follow(({ query }) => {
      const [states, path, after] = [query.getAll('state'), query.get('path'), query.get('after')];
      const key = JSON.stringify([states, path, after]);
      if (run.tab !== 'steps') return;
      if (key === asked) return void this.feed.soon();
      asked = key;
      this.feed.turn((signal) => get(['runs', run.id, 'steps'], { state: states, path, after, limit: ROWS }, signal));
    });
  }

  filter(changed) {
    replace(link(this.page.place.parts, queryWith({ ...changed, after: undefined })));
  }

  draw() {
    const { query, parts } = this.page.place;
    const states = query.getAll('state');
    const flip = (state) =>
      this.filter({ state: states.includes(state) ? states.filter((s) => s !== state) : [...states, state] });
    const later = (path) => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.filter({ path }), TYPING_MS);
    };
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
    const first = query.has('after') && link(parts, queryWith({ after: undefined }));
    return [
      h(
        'search',
        { class: 'filters' },
        h('div', { class: 'chips', role: 'group', 'aria-label': 'States' }, STEP_STATES.map(chip)),
        input(query.get('path') ?? '', later, {
          type: 'search',
          placeholder: '/path/of/a/node, or of one branch: /node[3]',
          'aria-label': 'Path',
        }),
      ),
      shown(this.feed, ({ items, next }) => [
        bulkButtons(this.run, items),
        this.list(items),
        pager(first, next && link(parts, queryWith({ after: next }))),
      ]),
    ];
  }

  list(items) {
    if (items.length === 0)
      return empty(
        'No step is like that',
        this.page.place.query.has('state') || this.page.place.query.has('path')
          ? 'Take a filter away.'
          : 'None was opened yet.',
      );
    return h(
      'ul',
      { class: 'steps panel' },
      items.map((step) => this.one(step)),
    );
  }

  one(step) {
    const key = step.path;
    const isOpen = this.open.has(key);
    const flip = () => {
      if (!this.open.delete(key)) this.open.add(key);
      this.page.redraw();
    };
    const last = step.attempts.at(-1);
    return h(
      'li',
      { key, class: 'step' },
      h(
        'button',
        { type: 'button', class: 'step-head', 'aria-expanded': String(isOpen), onclick: flip },
        h('span', { class: 'state' }, pill(step.state)),
        h('span', { class: 'mono path' }, step.path),
        h(
          'span',
          { class: 'soft small' },
          step.attempt > 1 && `attempt ${step.attempt} `,
          last?.started_at && last.finished_at && between(last.started_at, last.finished_at),
        ),
      ),
      !isOpen &&
        step.error &&
        h('p', { class: 'small step-error' }, h('b', { class: 'mono' }, step.error.type), ' ', step.error.message),
      isOpen && this.whole(step),
    );
  }

  whole(step) {
    const canOperate = ['parked', 'failed'].includes(step.state);
    return h(
      'div',
      { class: 'step-body' },
      facts(
        step.handler && ['Handler', step.handler],
        step.queue && ['Queue', step.queue],
        step.worker && ['Worker', step.worker],
        step.next_retry_at && ['Next try', time(step.next_retry_at)],
        step.claim && [
          'Claimed',
          [`attempt ${step.claim.attempt} by ${step.claim.worker} `, time(step.claim.claimed_at)],
        ],
      ),
      canOperate && stepButtons(this.run, { path: step.path }),
      error(step.error),
      step.output !== null &&
        step.output !== undefined &&
        h('div', {}, h('h3', {}, 'Output'), this.tree(step, 'output', step.output)),
      step.attempts.length > 0 &&
        h(
          'div',
          {},
          h('h3', {}, 'Attempts'),
          h(
            'ol',
            { class: 'attempts' },
            step.attempts.map((attempt, i) => attemptOf(attempt, i, step)),
          ),
        ),
    );
  }

  tree(step, name, value) {
    const key = `${step.path} ${name}`;
    if (!this.trees.has(key)) this.trees.set(key, new Unfolded());
    return tree(value, this.trees.get(key), this.page.redraw, { label: 'the output' });
  }
}

const OUTCOMES = { ok: 'completed', error: 'failed', timeout: 'failed', lost: 'failed', cancelled: 'cancelled' };

function attemptOf(of, index, step) {
  const isSaid = index === step.attempts.length - 1 && step.error;
  return h(
    'li',
    { key: `${of.attempt} ${index}` },
    h(
      'p',
      {},
      sign(OUTCOMES[of.outcome] ?? 'running'),
      h('b', {}, `Attempt ${of.attempt}`),
      ` ${of.outcome ?? 'runs'} `,
      h(
        'span',
        { class: 'soft small' },
        of.worker && `on ${of.worker} `,
        of.started_at && time(of.started_at),
        of.started_at && of.finished_at && ` for ${between(of.started_at, of.finished_at)}`,
      ),
    ),
    !isSaid && error(of.error),
    of.logs.length > 0 &&
      h(
        'details',
        { class: 'quiet', open: of.logs.length <= 8 },
        h('summary', {}, count(of.logs.length, 'line of logs', 'lines of logs')),
        h('pre', { class: 'code logs' }, of.logs.join('\n')),
      ),
  );
}

/** A path with every visit left out and every item replaced by `*`: the path of a node in the structure. */
export function pattern(path) {
  return path
    .split('/')
    .map((part) =>
      part.startsWith('[') || part.startsWith('catch[') ? part : part.replace(/#\d+/, '').replace(/\[.*$/, '[*]'),
    )
    .join('/');
}

/** The steps of one node of the structure, for the panel beside it. */
export class StepsOfNode {
  constructor(page, run) {
    this.page = page;
    this.run = run;
    this.steps = new Steps(page, run);
    this.feed = page.feed(null);
    this.asked = null;
    this.states = null;
    this.branch = '';
  }

  draw(node) {
    if (!node.handler) return this.others(node);
    if (this.asked !== node.path) this.begin(node);
    const known = STEP_STATES.filter((state) => node.counts[state] > 0);
    const flip = (state) => {
      this.states = this.states.includes(state) ? this.states.filter((s) => s !== state) : [...this.states, state];
      this.ask(node);
    };
    const chip = (state) =>
      h(
        'button',
        {
          key: state,
          type: 'button',
          class: 'chip',
          'aria-pressed': String(this.states.includes(state)),
          onclick: () => flip(state),
        },
        sign(state),
        number(node.counts[state]),
        ` ${words(state)}`,
      );
    const isInside = node.path.includes('[*]');
    return [
      known.length > 0 && h('div', { class: 'chips', role: 'group', 'aria-label': 'States' }, known.map(chip)),
      isInside &&
        input(this.branch, (text) => this.look(node, text), {
          placeholder: 'number (or key) of one branch',
          'aria-label': 'Branch',
          size: '10',
        }),
      known.length === 0
        ? h('p', { class: 'soft' }, 'No visit of it is recorded yet.')
        : shown(this.feed, (all) => this.list(node, all)),
    ];
  }

  begin(node) {
    this.branch = '';
    const known = STEP_STATES.filter((state) => node.counts[state] > 0);
    const trouble = known.filter((state) => INTERESTING.includes(state));
    // The fewer states are asked for, the fewer steps of other nodes of a fan-out come along.
    this.states = trouble.length > 0 ? trouble : known;
    this.ask(node);
  }

  look(node, text) {
    this.branch = text.trim();
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.ask(node), TYPING_MS);
  }

  /** The API filters by the beginning of a path; what lies beside the node is left out here. */
  ask(node) {
    const isOther = this.asked !== node.path;
    this.asked = node.path;
    const [outer] = node.path.split('[*]');
    const path = this.branch && node.path !== outer ? `${outer}[${this.branch}]` : outer;
    const { states } = this;
    this.feed.turn(async (signal) => {
      const { items, next } = await get(
        ['runs', this.run.id, 'steps'],
        { path, state: states, limit: LOOKED_AT },
        signal,
      );
      return { items: items.filter((step) => pattern(step.path) === node.path), isCut: next !== null };
    }, !isOther);
    this.page.redraw();
  }

  list(node, { items, isCut }) {
    const rest = items.length - SHOWN;
    const href = link(['runs', this.run.id, 'steps'], { path: node.path.split('[*]')[0], state: this.states });
    return [
      items.length === 0
        ? h(
            'p',
            { class: 'soft' },
            isCut ? `Not among the first ${number(LOOKED_AT)} steps here; name a branch.` : 'None like that.',
          )
        : h(
            'ul',
            { class: 'steps' },
            items.slice(0, SHOWN).map((step) => this.steps.one(step)),
          ),
      (rest > 0 || isCut) && h('p', {}, h('a', { href }, isCut ? 'All of them' : `${number(rest)} more`)),
    ];
  }

  /** Of a node that is no step: counts, and where to look. */
  others(node) {
    this.asked = null;
    const known = STEP_STATES.filter((state) => node.counts[state] > 0);
    const [outer] = node.path.split('[*]');
    return [
      known.length > 0 &&
        h(
          'ul',
          { class: 'legend' },
          known.map((state) =>
            h(
              'li',
              { key: state },
              sign(state),
              h('b', { class: 'num' }, number(node.counts[state])),
              ` ${words(state)}`,
            ),
          ),
        ),
      (node.flows ?? []).length > 0 &&
        h(
          'p',
          { class: 'row' },
          button('Its failed steps', () =>
            replace(link(['runs', this.run.id, 'steps'], { path: outer, state: ['failed', 'parked', 'retrying'] })),
          ),
          button('All its steps', () => replace(link(['runs', this.run.id, 'steps'], { path: outer }))),
        ),
    ];
  }
}
