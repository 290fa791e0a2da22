// A JSON value as a tree that unfolds. Only what is unfolded is drawn, lists piece by piece: a context may have megabytes.

import { h } from './dom.js';
import { Exact, kind, write } from './json.js';
import { number } from './format.js';
import { copy } from './ui.js';

const PIECE = 100;
const TEXT_MAX = 600;
/** Small values are unfolded to begin with, this deep. */
const OPEN_DEPTH = 2;
const OPEN_MEMBERS = 24;

/** What of a tree is unfolded. */
export class Unfolded {
  constructor() {
    this.open = new Map();
    this.shown = new Map();
  }
}

/** Draws `value`. `changed` holds the places to mark; see `changes` in json.js. */
export function tree(value, unfolded, redraw, { changed = new Set(), label = 'value' } = {}) {
  const draw = { unfolded, redraw, changed };
  return h(
    'div',
    { class: 'tree' },
    h(
      'div',
      { class: 'tree-tools' },
      copy(`Copy ${label} as JSON`, () => write(value, true)),
    ),
    h('ul', { class: 'members root' }, member(draw, null, value, '', 0)),
  );
}

function member(draw, key, value, place, depth) {
  const of = kind(value);
  const isMarked = draw.changed.has(place);
  const name = key !== null && h('span', { class: 'key' }, typeof key === 'number' ? `[${key}]` : key, ': ');
  if ((of !== 'object' && of !== 'list') || Object.keys(value).length === 0) {
    return h('li', { key: place, class: isMarked ? 'changed' : undefined }, name, leaf(draw, value, place));
  }
  const size = Object.keys(value).length;
  const isOpen = draw.unfolded.open.get(place) ?? (depth < OPEN_DEPTH && size <= OPEN_MEMBERS);
  const toggle = () => {
    draw.unfolded.open.set(place, !isOpen);
    draw.redraw();
  };
  const [open, close] = of === 'list' ? '[]' : '{}';
  const fold = h(
    'button',
    { type: 'button', class: 'fold', 'aria-expanded': String(isOpen), onclick: toggle },
    h('span', { class: 'arrow', 'aria-hidden': 'true' }, isOpen ? '▾' : '▸'),
    name,
    h('span', { class: 'soft' }, `${open}${isOpen ? '' : ` ${number(size)} `}${isOpen ? '' : close}`),
  );
  return h(
    'li',
    { key: place, class: isMarked ? 'changed' : undefined },
    fold,
    isOpen && members(draw, value, of, place, depth),
    isOpen && h('span', { class: 'soft close' }, close),
  );
}

function members(draw, value, of, place, depth) {
  const keys = Object.keys(value);
  const shown = draw.unfolded.shown.get(place) ?? PIECE;
  const more = () => {
    draw.unfolded.shown.set(place, shown + PIECE * 5);
    draw.redraw();
  };
  const inside = keys
    .slice(0, shown)
    .map((key) => member(draw, of === 'list' ? Number(key) : key, value[key], `${place}/${key}`, depth + 1));
  const rest = keys.length - shown;
  return h(
    'ul',
    { class: 'members' },
    inside,
    rest > 0 &&
      h('li', { key: '…' }, h('button', { type: 'button', class: 'linkish', onclick: more }, `${number(rest)} more`)),
  );
}

function leaf(draw, value, place) {
  if (value instanceof Exact) return h('span', { class: 'v-number' }, value.text);
  if (typeof value !== 'string') return h('span', { class: `v-${kind(value)}` }, write(value));
  const isWhole = value.length <= TEXT_MAX || draw.unfolded.open.get(place);
  const more = () => {
    draw.unfolded.open.set(place, true);
    draw.redraw();
  };
  const text = JSON.stringify(isWhole ? value : value.slice(0, TEXT_MAX));
  return [
    h('span', { class: 'v-string' }, text),
    !isWhole &&
      h('button', { type: 'button', class: 'linkish', onclick: more }, ` … all ${number(value.length)} characters`),
  ];
}
