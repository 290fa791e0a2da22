// The frame around all pages: which page is where, what is in the bar at the top, who we are.

import { access, get, namespace, setToken, token } from './api.js';
import { dialog } from './dialog.js';
import { draw, h } from './dom.js';
import { field, input } from './forms.js';
import { Feed } from './live.js';
import { go, here, link, queryWith, replace } from './router.js';
import { button, empty, failure } from './ui.js';
import { fleet } from './views/fleet.js';
import { inputs } from './views/inputs.js';
import { run } from './views/run.js';
import { runs } from './views/runs.js';
import { schedules } from './views/schedules.js';
import { workflow } from './views/workflow.js';
import { workflows } from './views/workflows.js';

const PAGES = { runs, workflows, inputs, schedules, fleet };
const NAV = [
  ['runs', 'Runs'],
  ['workflows', 'Workflows'],
  ['inputs', 'Inputs'],
  ['schedules', 'Schedules'],
  ['fleet', 'Fleet'],
];
/** Old content stays this long while the next page loads: most are there by then, and nothing flickers. */
const GRACE_MS = 250;
const TICK_MS = 1000;
const INPUTS_MS = 15_000;
const NAMESPACES = 'rejoin.namespaces';

let current = null;
let asking = null;

/** One page while it is shown: `signal` ends with it. */
class Page {
  constructor(place) {
    this.place = place;
    this.ending = new AbortController();
    this.signal = this.ending.signal;
    this.view = null;
    this.followers = [];
    this.isDrawn = false;
    this.isDue = false;
    this.redraw = this.redraw.bind(this);
  }

  /** What `load(signal)` gives, kept for this page. */
  feed(load) {
    return new Feed(load, this.redraw, this.signal);
  }

  /** Calls `turned(place)` now and whenever the address changes within the page. */
  follow(turned) {
    this.followers.push(turned);
    turned(this.place);
  }

  turn(place) {
    this.place = place;
    for (const turned of this.followers) turned(place);
    this.redraw();
  }

  /** Draws it anew, soon. */
  redraw() {
    if (this.isDue || this.signal.aborted || !this.view) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      if (!this.signal.aborted) this.draw();
    });
  }

  draw() {
    this.isDrawn = true;
    const { title, body } = this.drawn();
    document.title = `${title} · Rejoin`;
    draw(document.getElementById('main'), body);
  }

  /** A page that fails says so, instead of standing still. */
  drawn() {
    try {
      return this.view();
    } catch (error) {
      reportError(error);
      return { title: 'Error', body: failure({ title: 'This page failed', message: error.message }) };
    }
  }
}

/** The view of an address: a function that draws it, made once a page. */
function viewOf(page) {
  const [first = 'runs', second] = page.place.parts;
  if (first === 'runs' && second) return run(page, second);
  if (first === 'workflows' && second) return workflow(page, second);
  if (Object.hasOwn(PAGES, first) && second === undefined) return PAGES[first](page);
  return () => ({
    title: 'Not found',
    body: empty(
      'There is no such page',
      location.hash,
      h('a', { class: 'button primary', href: link(['runs']) }, 'To the runs'),
    ),
  });
}

/** Where only a tab or the query changes, the page is the same: what was loaded stays, and so does the focus. */
const subjectOf = ({ parts, query }) => [query.get('ns') ?? '', ...parts.slice(0, 2)].join('/');

function navigate() {
  const place = here();
  if (current && subjectOf(current.place) === subjectOf(place)) current.turn(place);
  else open(place);
  drawTop();
}

function open(place) {
  const isFirst = current === null;
  current?.ending.abort();
  const page = new Page(place);
  current = page;
  page.view = viewOf(page);
  if (!isFirst) {
    window.scrollTo(0, 0);
    document.getElementById('main').focus({ preventScroll: true });
  }
  setTimeout(() => page.isDrawn || page.redraw(), isFirst ? 0 : GRACE_MS);
}

let waiting = 0;
const pending = new Feed(
  async (signal) => (await get(['inputs'], { limit: 100 }, signal)).items.length,
  () => {
    if (pending.data === waiting) return;
    waiting = pending.data;
    drawTop();
  },
  new AbortController().signal,
).keep(INPUTS_MS);

function drawTop() {
  const first = here().parts[0] ?? 'runs';
  const badge = (name) =>
    name === 'inputs' &&
    waiting > 0 &&
    h('span', { class: 'badge', 'aria-label': `${waiting} waiting` }, waiting > 99 ? '99+' : waiting);
  const links = NAV.map(([name, text]) =>
    h('a', { key: name, href: link([name]), 'aria-current': first === name ? 'page' : undefined }, text, badge(name)),
  );
  draw(document.getElementById('top'), [
    h('a', { class: 'brand', href: link(['runs']) }, logo(), 'Rejoin'),
    h('nav', { class: 'nav', 'aria-label': 'Main' }, links),
    h(
      'div',
      { class: 'who' },
      h('a', { class: 'button quiet docs', href: '../docs' }, 'Docs'),
      button(['ns ', h('b', {}, namespace() || 'default')], askNamespace, {
        kind: 'quiet',
        title: 'Change the namespace',
      }),
      token() && button('Forget token', forget, { kind: 'quiet' }),
    ),
  ]);
}

function logo() {
  return h(
    'svg',
    { viewBox: '0 0 32 32', width: '24', height: '24', 'aria-hidden': 'true' },
    h('rect', { width: '32', height: '32', rx: '8', class: 'logo-back' }),
    h('path', { class: 'logo-lines', d: 'M6 16h4c4 0 3-7 6-7s2 7 6 7h4M10 16h12M10 16c4 0 3 7 6 7s2-7 6-7' }),
  );
}

function forget() {
  setToken('');
  location.reload();
}

function knownNamespaces() {
  try {
    return JSON.parse(localStorage.getItem(NAMESPACES)) ?? [];
  } catch {
    return [];
  }
}

/** The API tells no list of namespaces; those that were looked at before are offered. */
function askNamespace() {
  let name = namespace();
  const known = ['default', ...knownNamespaces()];
  const choose = (chosen) =>
    h(
      'button',
      {
        type: 'button',
        class: 'button plain',
        onclick: () => {
          name = chosen;
          to();
          opened.close();
        },
      },
      chosen,
    );
  function to() {
    const chosen = name.trim() === 'default' ? '' : name.trim();
    if (chosen)
      localStorage.setItem(NAMESPACES, JSON.stringify([...new Set([chosen, ...knownNamespaces()])].slice(0, 12)));
    // A page about one thing of another namespace leads nowhere in this one.
    go(link(here().parts.slice(0, 1), { ns: chosen }));
  }
  const opened = dialog({
    title: 'Namespace',
    confirm: 'Go there',
    body: (redraw) => [
      field('Name', () =>
        input(
          name,
          (text) => {
            name = text;
            redraw();
          },
          { autofocus: true },
        ),
      ),
      h('p', { class: 'hint' }, 'Everything lives in a namespace. With a token it is the token’s.'),
      h('div', { class: 'row' }, known.map(choose)),
    ],
    act: async () => to(),
  });
}

/** The server wants a token. One question at a time, however many answers were 401. */
function askToken(problem) {
  if (asking) return;
  let text = '';
  const mine = dialog({
    title: 'A token is needed',
    confirm: 'Use it',
    isReady: () => text.trim() !== '',
    body: (redraw) => [
      h(
        'p',
        {},
        token()
          ? problem.message
          : 'This server asks for a token. It is kept for this tab only, until the tab is closed.',
      ),
      field(
        'Token',
        () =>
          input(
            text,
            (typed) => {
              text = typed;
              redraw();
            },
            { type: 'password', autofocus: true, autocomplete: 'off' },
          ),
        ['Made by ', h('code', {}, 'rejoin token create'), '. A viewer may look; an operator may act.'],
      ),
    ],
    act: async () => setToken(text.trim()),
    done: () => {
      asking = null;
      open(here());
      drawTop();
      pending.now();
    },
    // It is told so a while later: the next question may stand there by then.
    closed: () => {
      if (asking === mine) asking = null;
    },
  });
  asking = mine;
}

access.onUnauthorized = askToken;
document.getElementById('skip').onclick = (event) => {
  event.preventDefault();
  document.getElementById('main').focus();
};
/** A menu closes as soon as something else is done. */
function closeMenus(except) {
  for (const menu of document.querySelectorAll('.menu[open]')) {
    if (!menu.contains(except)) menu.open = false;
  }
}
document.addEventListener('click', (event) => closeMenus(event.target.closest('summary')));
document.addEventListener('keydown', (event) => event.key === 'Escape' && closeMenus(null));
window.addEventListener('hashchange', () => navigate());
// Times that go on ("3s ago") are drawn anew while somebody looks.
setInterval(() => document.hidden || current?.isDrawn === false || current?.redraw(), TICK_MS);

if (here().parts.length === 0) replace(link(['runs'], queryWith({})));
else navigate();
pending.now();
