// One workflow: its versions, each with its structure and its definition.

import { get } from '../api.js';
import { h } from '../dom.js';
import { select } from '../forms.js';
import { number } from '../format.js';
import { write } from '../json.js';
import { link, queryWith, replace } from '../router.js';
import { button, copy, facts, shown, tabs, time } from '../ui.js';
import { yaml } from '../yaml.js';
import { startRun } from './start.js';
import { Structure } from './structure.js';

export function workflow(page, name) {
  const newest = page.feed((signal) => get(['workflows', name], {}, signal));
  const one = page.feed(() => {});
  const graph = page.feed(() => {});
  const structure = new Structure(page);
  let version;
  newest.now();
  page.follow(({ query }) => {
    const asked = query.get('version') ?? '';
    if (asked === version) return;
    version = asked;
    const parts = asked ? ['workflows', name, 'versions', asked] : ['workflows', name];
    one.turn((signal) => get(parts, {}, signal), false);
    graph.turn((signal) => get(['workflows', name, 'graph'], { version: asked }, signal), false);
  });
  return () => ({
    title: name,
    body: [head(page, name, newest.data?.version), shown(one, (is) => body(page, is, graph, structure))],
  });
}

function head(page, name, newest) {
  const versions = Array.from({ length: newest ?? 0 }, (_, i) => String(newest - i));
  const turn = (version) =>
    replace(link(page.place.parts, queryWith({ version: version === String(newest) ? undefined : version })));
  return h(
    'div',
    { class: 'head' },
    h('div', {}, h('p', { class: 'crumbs' }, h('a', { href: link(['workflows']) }, 'Workflows')), h('h1', {}, name)),
    h(
      'div',
      { class: 'row' },
      versions.length > 0 &&
        select(
          page.place.query.get('version') ?? String(newest),
          versions.map((v) => [v, `version ${v}${v === String(newest) ? ' (newest)' : ''}`]),
          turn,
          { 'aria-label': 'Version' },
        ),
      h('a', { class: 'button plain', href: link(['runs'], { workflow: name }) }, 'Runs'),
      button('Start a run', () => startRun(name), { kind: 'primary' }),
    ),
  );
}

function body(page, is, graph, structure) {
  const tab = page.place.parts[2] ?? 'structure';
  const to = (name) => link(['workflows', is.name, name], queryWith({}));
  const all = [
    ['Structure', to('structure'), tab === 'structure'],
    ['Definition', to('definition'), tab === 'definition'],
    ['Input', to('input'), tab === 'input'],
  ];
  return [
    is.description && h('p', { class: 'lead' }, is.description),
    facts(
      ['Version', number(is.version)],
      ['Registered', time(is.created_at)],
      ['Digest', h('code', { title: is.digest }, is.digest.slice(0, 16))],
    ),
    tabs('Workflow', all),
    tab === 'structure' && shown(graph, (g) => structure.draw(g)),
    tab === 'definition' &&
      h(
        'div',
        { class: 'panel source' },
        h(
          'div',
          { class: 'tree-tools' },
          copy('Copy as YAML', () => yaml(is.definition)),
        ),
        h('pre', { class: 'code' }, yaml(is.definition)),
      ),
    tab === 'input' &&
      h(
        'div',
        { class: 'panel' },
        is.definition.input
          ? h('pre', { class: 'code' }, write(is.definition.input, true))
          : h('p', { class: 'soft' }, 'It takes any input.'),
      ),
  ];
}
