// The journal, newest first, and time travel: the context as it stood at a record, with what that record changed.

import { get, lastSeq } from '../../api.js';
import { h } from '../../dom.js';
import { number } from '../../format.js';
import { changes, write } from '../../json.js';
import { link, queryWith, replace } from '../../router.js';
import { Unfolded, tree } from '../../tree.js';
import { button, empty, iconButton, shown, time, words } from '../../ui.js';
import { fork } from './operations.js';

const ROWS = 50;
const SLIDE_MS = 250;
/** Members of a record that its line shows already. */
const SHOWN = new Set(['seq', 'at', 'kind', 'path', 'attempt', 'outcome', 'worker']);

export class Journal {
  constructor(page, run) {
    this.page = page;
    this.run = run;
    this.open = new Set();
    this.unfolded = new Unfolded();
    this.feed = page.feed(null);
    this.then = page.feed(null);
    this.sliding = 0;
    let asked;
    page.follow(({ query }) => {
      if (run.tab !== 'journal') return;
      const [top, at] = [query.get('top'), query.get('at')];
      if (asked?.top !== top || !asked) this.feed.turn((signal) => this.records(top && Number(top), signal));
      if (asked?.at !== at && at) this.then.turn((signal) => this.context(Number(at), signal));
      asked = { top, at };
    });
  }

  /** One page that ends at `top`, or at the last record. */
  async records(top, signal) {
    const last = this.run.isLive ? this.run.seq : await lastSeq(this.run.id, this.run.seq, signal);
    this.run.seen(last);
    const end = Math.min(top ?? last, last);
    const { items } = await get(
      ['runs', this.run.id, 'journal'],
      { after: Math.max(0, end - ROWS), limit: ROWS },
      signal,
    );
    return { items: items.reverse(), end, last };
  }

  async context(at, signal) {
    const of = (seq) => get(['runs', this.run.id, 'context'], { at: seq }, signal);
    const [is, was] = await Promise.all([of(at), at > 1 ? of(at - 1).catch(() => null) : null]);
    return { at, is, changed: was === null ? new Set() : changes(was, is) };
  }

  travel(at) {
    const seq = at && Math.max(1, Math.min(at, this.run.seq));
    replace(link(this.page.place.parts, queryWith({ at: seq })));
  }

  draw() {
    const at = Number(this.page.place.query.get('at')) || null;
    return h(
      'div',
      { class: `journal${at ? ' has-side' : ''}` },
      h(
        'div',
        {},
        shown(this.feed, (page) => this.list(page, at)),
      ),
      at && h('aside', { class: 'side panel', 'aria-label': 'Context then' }, this.side(at)),
    );
  }

  list({ items, end, last }, at) {
    if (items.length === 0)
      return empty('No records', 'The journal of this run is empty, or what stood here was dropped.');
    const to = (top) => link(this.page.place.parts, queryWith({ top }));
    const newer =
      end < last && h('a', { class: 'button plain', href: to(end + ROWS >= last ? undefined : end + ROWS) }, '← Newer');
    const older = end > ROWS && h('a', { class: 'button plain', href: to(end - ROWS) }, 'Older →');
    return [
      h(
        'p',
        { class: 'hint' },
        `Records ${number(items.at(-1).seq)} to ${number(items[0].seq)} of ${number(last)}. Choose one to see the context as it stood then.`,
      ),
      h(
        'ol',
        { class: 'records panel', reversed: true },
        items.map((record) => this.record(record, at)),
      ),
      h('nav', { class: 'pager', 'aria-label': 'Pages' }, newer || h('span'), older),
    ];
  }

  record(record, at) {
    const { seq } = record;
    const isChosen = seq === at;
    const isOpen = this.open.has(seq) || isChosen;
    const flip = () => {
      if (!this.open.delete(seq)) this.open.add(seq);
      this.page.redraw();
    };
    const rest = Object.fromEntries(Object.entries(record).filter(([key]) => !SHOWN.has(key)));
    return h(
      'li',
      { key: seq, class: `record k-${record.kind}${isChosen ? ' is-chosen' : ''}` },
      h(
        'div',
        { class: 'record-line' },
        h(
          'button',
          {
            type: 'button',
            class: 'seq num',
            'aria-pressed': String(isChosen),
            title: 'See the context at this record',
            onclick: () => this.travel(isChosen ? undefined : seq),
          },
          number(seq),
        ),
        h(
          'button',
          { type: 'button', class: 'record-head', 'aria-expanded': String(isOpen), onclick: flip },
          h('b', { class: `kind o-${record.outcome ?? 'none'}` }, words(record.kind)),
          h('span', { class: 'mono path' }, record.path ?? ''),
          h(
            'span',
            { class: 'soft small' },
            [record.attempt > 1 && `attempt ${record.attempt}`, record.outcome, record.worker && `on ${record.worker}`]
              .filter(Boolean)
              .join(' · '),
          ),
        ),
        time(record.at),
      ),
      isOpen && h('pre', { class: 'code' }, write(rest, true)),
    );
  }

  side(at) {
    const last = this.run.seq;
    const slide = (event) => {
      const to = Number(event.target.value);
      clearTimeout(this.sliding);
      this.sliding = setTimeout(() => this.travel(to), SLIDE_MS);
    };
    return [
      h(
        'div',
        { class: 'row between' },
        h('h2', {}, `Context at ${number(at)}`),
        iconButton('close', 'Close', () => this.travel(undefined)),
      ),
      h(
        'div',
        { class: 'travel' },
        iconButton('first', 'First record', () => this.travel(1), { disabled: at <= 1 }),
        iconButton('back', 'One record back', () => this.travel(at - 1), { disabled: at <= 1 }),
        h('input', {
          type: 'range',
          min: '1',
          max: String(Math.max(last, at)),
          value: String(at),
          'aria-label': 'Record',
          oninput: slide,
        }),
        iconButton('on', 'One record on', () => this.travel(at + 1), { disabled: at >= last }),
        iconButton('last', 'Last record', () => this.travel(last), { disabled: at >= last }),
      ),
      shown(this.then, (then) => this.stood(then)),
      this.run.head.data &&
        h(
          'div',
          { class: 'row' },
          button(`Fork at ${number(at)} …`, () => fork(this.run, this.run.head.data, at)),
        ),
    ];
  }

  stood({ is, changed }) {
    const said =
      changed.size === 0
        ? 'This record changed nothing in the context of the outermost flow.'
        : 'What this record changed is marked.';
    return [
      h('p', { class: 'hint' }, said),
      tree(is, this.unfolded, this.page.redraw, { changed, label: 'the context' }),
    ];
  }
}
