// One run: what it is, how far it is, what it waits for; below it one of several ways to look at it.
//
//   watch ──a record──▶ feeds of what is shown now are asked again, soon (see live.js)

import { get, lastSeq, watch } from '../api.js';
import { h } from '../dom.js';
import { between, number, shortId } from '../format.js';
import { pause, visible } from '../live.js';
import { link, queryWith } from '../router.js';
import { copy, facts, hasEnded, pill, progress, runLink, shown, tabs, time } from '../ui.js';
import { tags } from './runs.js';
import { Context } from './run/context.js';
import { Journal } from './run/journal.js';
import { operations } from './run/operations.js';
import { Steps, StepsOfNode } from './run/steps.js';
import { why } from './run/why.js';
import { Structure } from './structure.js';

const AGAIN_MS = 3000;
/** Some things change without a record: workers come and go. */
const SLOW_MS = 10_000;
/** So many records are followed one by one; after that it is looked where the journal stands, a while later. */
const BURST = 500;
const TABS = [
  ['structure', 'Structure'],
  ['steps', 'Steps'],
  ['journal', 'Journal'],
  ['context', 'Context'],
  ['data', 'Input & output'],
];

export function run(page, id) {
  const one = new Run(page, id);
  one.start();
  return () => one.view();
}

class Run {
  constructor(page, id) {
    this.page = page;
    this.id = id;
    this.seq = 0;
    this.isLive = false;
    this.head = page.feed((signal) => this.load(signal));
    this.why = page.feed((signal) => get(['runs', id, 'why'], {}, signal));
    this.graph = page.feed((signal) => get(['runs', id, 'graph'], {}, signal));
    this.steps = new Steps(page, this);
    this.journal = new Journal(page, this);
    this.context = new Context(page, this);
    this.ofNode = new StepsOfNode(page, this);
    this.structure = new Structure(page, (node) => this.ofNode.draw(node));
    this.again = this.again.bind(this);
  }

  get tab() {
    return this.page.place.parts[2] ?? 'structure';
  }

  /** The feeds of what is on the page now. */
  get live() {
    const of = {
      structure: [this.graph, this.ofNode.feed],
      steps: [this.steps.feed],
      journal: [this.journal.feed],
      context: [this.context.feed],
      data: [],
    };
    return [this.head, this.why, ...(of[this.tab] ?? [])].filter((feed) => feed.load);
  }

  /** Something may have changed: all that is shown is asked again. */
  again() {
    for (const feed of this.live) feed.soon();
  }

  start() {
    this.why.now();
    let tab = null;
    this.page.follow(() => {
      if (tab !== this.tab && this.tab === 'structure') this.graph.now();
      tab = this.tab;
    });
    this.follow();
  }

  async load(signal) {
    const is = await get(['runs', this.id], {}, signal);
    for (const feed of [this.head, this.why]) feed.keep(hasEnded(is) ? 0 : SLOW_MS);
    return is;
  }

  /** Watches the journal while somebody looks and the run goes on; also when an ended run is resumed. */
  async follow() {
    const { signal } = this.page;
    await this.head.now();
    while (!signal.aborted) {
      await visible(signal);
      // Not found, or not allowed: the head says so.
      if (this.head.error?.status >= 400 && this.head.error.status < 500) return;
      if (this.head.data && !hasEnded(this.head.data)) await this.watched(hiding(signal));
      this.isLive = false;
      await pause(AGAIN_MS, signal);
    }
  }

  async watched(signal) {
    try {
      // Each step that has ended has a record of its own.
      const { done, failed } = this.head.data.progress;
      this.seen(await lastSeq(this.id, Math.max(this.seq, done + failed), signal));
      this.again();
      this.isLive = true;
      let left = BURST;
      const record = (seq) => {
        this.seen(seq);
        this.again();
        left -= 1;
        return left > 0;
      };
      if (await watch(this.id, this.seq, record, signal)) {
        await this.head.now();
        this.again();
      }
    } catch {
      // It broke off, or nobody looks: the loop begins anew.
    }
  }

  seen(seq) {
    if (seq > this.seq) this.seq = seq;
    this.page.redraw();
  }

  view() {
    const title = this.head.data ? `${this.head.data.workflow} ${shortId(this.head.data.id)}` : 'Run';
    return { title, body: shown(this.head, (is) => this.body(is)) };
  }

  body(is) {
    const to = (tab) => link(['runs', this.id, tab], queryWith({ after: undefined }));
    const all = TABS.map(([name, text]) => [text, to(name), name === this.tab]);
    return [
      this.top(is),
      h('section', { class: 'panel', 'aria-label': 'Progress' }, progress(is.progress)),
      why(this, is),
      tabs('Run', all),
      h('div', { key: this.tab, class: 'tab' }, this.below(is)),
    ];
  }

  top(is) {
    const ended = hasEnded(is);
    return [
      h(
        'div',
        { class: 'head' },
        h(
          'div',
          {},
          h(
            'p',
            { class: 'crumbs' },
            h('a', { href: link(['runs']) }, 'Runs'),
            ' / ',
            h('a', { href: link(['runs'], { workflow: is.workflow }) }, is.workflow),
          ),
          h(
            'h1',
            { class: 'row' },
            is.workflow,
            pill(is.state),
            this.isLive && h('span', { class: 'live', title: 'Followed as it goes' }, 'live'),
            is.compensated && h('span', { class: 'pill s-compensating' }, 'compensated'),
          ),
        ),
        operations(this, is),
      ),
      facts(
        ['Run', [h('code', { class: 'id' }, is.id), copy('Copy the id', () => is.id)]],
        ['Version', h('a', { href: link(['workflows', is.workflow], { version: is.version }) }, `v${is.version}`)],
        ['Created', time(is.created_at)],
        is.started_at && [ended ? 'Took' : 'Runs since', between(is.started_at, ended ? is.finished_at : null)],
        is.finished_at && ['Finished', time(is.finished_at)],
        is.priority !== 'normal' && ['Priority', is.priority],
        is.parent && ['Called by', runLink(is.parent)],
        is.forked_from && ['Forked from', [runLink(is.forked_from.run), ` at ${number(is.forked_from.seq)}`]],
        is.children.length > 0 && [
          'Calls',
          [
            is.children.slice(0, 5).map((child) => [runLink(child, { key: child }), ' ']),
            is.children.length > 5 && h('a', { href: link(['runs'], { parent: is.id }) }, 'all'),
          ],
        ],
        Object.keys(is.tags).length > 0 && ['Tags', tags(is.tags)],
        ['Owner', is.owner ? `${is.owner}, partition ${is.partition}` : `partition ${is.partition}`],
        ['Dispatches', number(is.counts.dispatched) + oddities(is.counts)],
      ),
    ];
  }

  below(is) {
    switch (this.tab) {
      case 'steps':
        return this.steps.draw();
      case 'journal':
        return this.journal.draw();
      case 'context':
        return this.context.draw();
      case 'data':
        return this.context.drawData(is);
      default:
        return shown(this.graph, (graph) => this.structure.draw(graph));
    }
  }
}

/** What happened beside the plan: deliveries that came again, and completions that came twice or too late. */
function oddities(counts) {
  const all = ['redelivered', 'duplicate', 'late']
    .filter((name) => counts[name] > 0)
    .map((name) => `${number(counts[name])} ${name}`);
  return all.length > 0 ? ` (${all.join(', ')})` : '';
}

/** Aborts with the page, and as soon as nobody looks: a browser has few connections for all its tabs. */
function hiding(signal) {
  const ending = new AbortController();
  const look = () => document.hidden && ending.abort();
  document.addEventListener('visibilitychange', look, { signal: ending.signal });
  return AbortSignal.any([signal, ending.signal]);
}
