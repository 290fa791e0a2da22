// A workflow's structure, with the states of a run on it. The same elements are laid out as a diagram where there is room, and as an
// outline where there is little (structure.css). A fan-out is one lane with counts, however many branches it has.

import { h } from '../dom.js';
import { number } from '../format.js';
import { icon } from '../icons.js';
import { link, queryWith, replace } from '../router.js';
import { STEP_STATES, iconButton, sign, words } from '../ui.js';
import { edges, layers } from './layers.js';

const KINDS = {
  step: 'step',
  parallel: 'fork',
  foreach: 'each',
  graph: 'graph',
  branch: 'case',
  decision: 'rule',
  group: 'group',
  try: 'try',
  repeat: 'loop',
  sleep: 'sleep',
  wait: 'wait',
  call: 'call',
  emit: 'emit',
  set: 'set',
  fail: 'fail',
  finish: 'end',
};
/** Lanes shown of one node to begin with, those in trouble or at work first. */
const LANES = 24;
/** Larger definitions are folded below this depth to begin with. */
const NODES_OPEN = 200;
const DEPTH_OPEN = 2;
const BY_INTEREST = ['failed', 'parked', 'retrying', 'running', 'pending', 'completed', 'cancelled', 'skipped'];

export class Structure {
  /** `detail(node)` draws what stands beside the node that is chosen. Without a run there is none, and no states. */
  constructor(page, detail = null) {
    this.page = page;
    this.detail = detail;
    this.folded = new Map();
    this.lanes = new Map();
    this.known = null;
    this.isOutline = matchMedia('(max-width: 46rem)').matches;
  }

  get chosen() {
    return this.page.place.query.get('node');
  }

  choose(path) {
    replace(link(this.page.place.parts, queryWith({ node: path === this.chosen ? undefined : path })));
  }

  draw(graph) {
    const chosen = this.chosen && find(graph.nodes, this.chosen);
    return h(
      'div',
      { class: `structure${chosen ? ' has-side' : ''}` },
      this.canvas(graph),
      chosen && h('aside', { key: chosen.path, class: 'side panel', 'aria-label': chosen.name }, this.side(chosen)),
    );
  }

  /** Drawn anew only when something of it has changed: definitions may have thousands of nodes, and pages are drawn each second. */
  canvas(graph) {
    const { chosen, known } = this;
    if (known && known.graph === graph && known.chosen === chosen) return known.drawn;
    this.size = sizeOf(graph.nodes);
    const flip = () => this.change(() => (this.isOutline = !this.isOutline));
    const drawn = h(
      'div',
      { class: `canvas panel ${this.isOutline ? 'as-outline' : 'as-diagram'}${this.detail ? '' : ' is-plain'}` },
      h(
        'div',
        { class: 'canvas-tools' },
        iconButton(this.isOutline ? 'diagram' : 'outline', this.isOutline ? 'As a diagram' : 'As an outline', flip),
      ),
      this.flow(graph.nodes, 0),
    );
    this.known = { graph, chosen, drawn };
    return drawn;
  }

  change(how) {
    how();
    this.known = null;
    this.page.redraw();
  }

  side(node) {
    const facts = [
      ['Kind', node.kind],
      ['Path', h('code', {}, node.path)],
      node.handler && ['Handler', node.handler],
      node.queue && ['Queue', node.queue],
      node.when && ['When', h('code', {}, node.when)],
      node.branches && ['Branches', `${number(node.branches.done)} of ${number(node.branches.total)} have ended`],
    ];
    return [
      h(
        'div',
        { class: 'row between' },
        h('h2', {}, this.detail && sign(node.state), node.name),
        iconButton('close', 'Close', () => this.choose(node.path)),
      ),
      h(
        'dl',
        { class: 'facts' },
        facts.filter(Boolean).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
      ),
      this.detail?.(node),
    ];
  }

  flow(nodes, depth) {
    return h(
      'ol',
      { class: 'flow' },
      nodes.map((node) => this.node(node, depth)),
    );
  }

  node(node, depth) {
    const state = `s-${node.state ?? 'none'}`;
    const flows = node.flows ?? [];
    if (flows.length === 0) return h('li', { key: node.path, class: 'node' }, this.box(node, state));
    const isFolded = this.folded.get(node.path) ?? (this.size > NODES_OPEN && depth >= DEPTH_OPEN);
    const fold = () => this.change(() => this.folded.set(node.path, !isFolded));
    const folder = h(
      'button',
      {
        type: 'button',
        class: 'folder',
        'aria-expanded': String(!isFolded),
        'aria-label': `${isFolded ? 'Unfold' : 'Fold'} ${node.name}`,
        onclick: fold,
      },
      icon(isFolded ? 'plus' : 'minus'),
    );
    return h(
      'li',
      { key: node.path, class: 'node' },
      h(
        'div',
        { class: `scope k-${node.kind} ${state}` },
        h('div', { class: 'scope-head' }, this.box(node, state), folder),
        !isFolded && this.inside(node, flows, depth + 1),
      ),
    );
  }

  /** A node itself: a button that opens what there is to say about it. */
  box(node, state) {
    const isChosen = node.path === this.chosen;
    const said = !this.detail ? '' : node.state ? `: ${words(node.state)}` : ': not reached';
    return h(
      'button',
      {
        type: 'button',
        class: `box ${state}`,
        'aria-pressed': String(isChosen),
        onclick: () => this.choose(node.path),
        title: `${node.kind} ${node.name}${said}`,
      },
      h(
        'span',
        { class: 'box-line' },
        this.detail && sign(node.state),
        h('span', { class: 'name' }, node.name),
        h('span', { class: 'kind' }, KINDS[node.kind] ?? node.kind),
      ),
      node.handler && node.handler !== node.name && h('span', { class: 'sub' }, node.handler),
      node.when && h('span', { class: 'sub' }, `when ${node.when}`),
      branches(node.branches),
      counts(node),
    );
  }

  inside(node, flows, depth) {
    if (node.kind === 'graph') return this.layered(node, flows, depth);
    const shown = this.lanes.get(node.path) ?? LANES;
    const sorted = flows.length > shown ? byInterest(flows).slice(0, shown) : flows;
    const more = () => this.change(() => this.lanes.set(node.path, shown + LANES * 4));
    const rest = flows.length - shown;
    return [
      h(
        'div',
        { class: `lanes${flows.length > 1 ? ' forks' : ''}` },
        sorted.map((flow) => this.lane(node, flow, depth)),
      ),
      rest > 0 && h('button', { type: 'button', class: 'linkish', onclick: more }, `${number(rest)} more`),
    ];
  }

  lane(node, flow, depth) {
    // The one flow of a group or a loop needs no name.
    const isNamed = flow.name !== 'steps' || node.flows.length > 1;
    const name = node.kind === 'foreach' ? `each ${flow.name}` : flow.name;
    return h(
      'div',
      { key: flow.name, class: `lane${node.kind === 'foreach' ? ' stack' : ''}${isReached(flow) ? '' : ' is-idle'}` },
      isNamed &&
        h(
          'p',
          { class: 'lane-name', title: flow.when ?? undefined },
          name,
          flow.when && h('span', { class: 'sub' }, flow.when),
        ),
      this.flow(flow.nodes, depth),
    );
  }

  /** A graph: each node below all that it needs, with lines between them. */
  layered(node, flows, depth) {
    const rows = layers(flows);
    const one = (flow) =>
      h(
        'div',
        {
          key: flow.name,
          class: `lane${isReached(flow) ? '' : ' is-idle'}`,
          'data-node': flow.name,
          'data-needs': JSON.stringify(flow.needs ?? []),
        },
        h(
          'p',
          { class: 'lane-name' },
          flow.name,
          (flow.needs ?? []).length > 0 && h('span', { class: 'sub needs' }, `needs ${flow.needs.join(', ')}`),
        ),
        this.flow(flow.nodes, depth),
      );
    return h(
      'div',
      { class: 'layers', ref: edges },
      h('svg', { class: 'edges', own: true, 'aria-hidden': 'true' }),
      rows.map((row, i) => h('div', { key: i, class: 'layer' }, row.map(one))),
    );
  }
}

function branches(of) {
  if (!of) return null;
  const share = of.total > 0 ? (100 * of.done) / of.total : 100;
  return h(
    'span',
    { class: 'box-branches' },
    h('span', { class: 'bar' }, h('span', { class: 'part s-completed', style: { width: `${share}%` } })),
    h('span', { class: 'num' }, `${number(of.done)}/${number(of.total)}`),
  );
}

/** Visits by state, where there is more than one. */
function counts(node) {
  const all = STEP_STATES.filter((state) => node.counts[state] > 0);
  const total = all.reduce((sum, state) => sum + node.counts[state], 0);
  if (total < 2 || node.branches) return null;
  return h(
    'span',
    { class: 'counts' },
    all.map((state) =>
      h(
        'span',
        { key: state, class: `count s-${state}`, title: words(state) },
        sign(state),
        number(node.counts[state]),
      ),
    ),
  );
}

const isReached = (flow) => flow.nodes.length === 0 || flow.nodes.some((node) => node.state !== null);

function byInterest(flows) {
  const rank = (flow) =>
    Math.min(...flow.nodes.map((node) => (node.state ? BY_INTEREST.indexOf(node.state) : BY_INTEREST.length)));
  return flows
    .map((flow) => [rank(flow), flow])
    .sort(([a], [b]) => a - b)
    .map(([, flow]) => flow);
}

function sizeOf(nodes) {
  return nodes.reduce(
    (sum, node) => sum + 1 + (node.flows ?? []).reduce((inner, flow) => inner + sizeOf(flow.nodes), 0),
    0,
  );
}

function find(nodes, path) {
  for (const node of nodes) {
    if (node.path === path) return node;
    for (const flow of node.flows ?? []) {
      const found = find(flow.nodes, path);
      if (found) return found;
    }
  }
  return null;
}
