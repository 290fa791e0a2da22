// The context, and what goes in and comes out.

import { get } from '../../api.js';
import { h } from '../../dom.js';
import { Unfolded, tree } from '../../tree.js';
import { shown } from '../../ui.js';
import { error } from './why.js';

export class Context {
  constructor(page, run) {
    this.page = page;
    this.run = run;
    this.feed = page.feed(null);
    this.unfolded = { context: new Unfolded(), input: new Unfolded(), output: new Unfolded() };
    page.follow(() => {
      if (run.tab !== 'context') return;
      if (this.feed.load) return void this.feed.soon();
      this.feed.turn((signal) => get(['runs', run.id, 'context'], {}, signal));
    });
  }

  draw() {
    return h(
      'div',
      { class: 'panel' },
      h('p', { class: 'hint' }, 'As the outermost flow has it now. The journal shows it as it stood at any record.'),
      shown(this.feed, (context) => this.tree('context', context)),
    );
  }

  drawData(is) {
    return h(
      'div',
      { class: 'halves' },
      this.part('Input', 'input', is.input),
      this.part('Output', 'output', is.output),
      is.error && h('section', { class: 'panel' }, h('h2', {}, 'Error'), error(is.error)),
    );
  }

  part(title, name, value) {
    return h(
      'section',
      { class: 'panel' },
      h('h2', {}, title),
      value === null ? h('p', { class: 'soft' }, 'null') : this.tree(name, value),
    );
  }

  tree(name, value) {
    return tree(value, this.unfolded[name], this.page.redraw, { label: `the ${name}` });
  }
}
