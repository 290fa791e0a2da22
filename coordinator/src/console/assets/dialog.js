// Dialogs: every operation asks before it is done, and shows what the server says to it.

import { draw, h } from './dom.js';
import { button, failure } from './ui.js';

/**
 * Opens a dialog. `body(redraw)` draws what is asked; `act()` does it, and its error is shown without closing; `done(result)`
 * follows. `closed()` is called once it is gone, however that came.
 */
export function dialog({
  title,
  body,
  confirm = 'OK',
  kind = 'primary',
  isReady = () => true,
  act,
  done,
  closed,
  isWide = false,
}) {
  const element = document.createElement('dialog');
  element.className = isWide ? 'wide' : '';
  element.setAttribute('aria-label', title);
  document.body.append(element);
  const state = { error: null, isBusy: false };
  const close = () => element.close();
  element.onclose = () => {
    element.remove();
    closed?.();
  };

  async function submit(event) {
    event.preventDefault();
    if (state.isBusy || !isReady()) return;
    state.isBusy = true;
    state.error = null;
    redraw();
    try {
      const result = await act();
      close();
      done?.(result);
    } catch (error) {
      state.error = error;
      state.isBusy = false;
      redraw();
    }
  }

  function redraw() {
    const ok =
      act &&
      h(
        'button',
        { type: 'submit', class: `button ${kind}`, disabled: state.isBusy || !isReady() },
        state.isBusy ? 'Working …' : confirm,
      );
    const form = h(
      'form',
      { onsubmit: submit },
      h('h2', {}, title),
      h('div', { class: 'dialog-body' }, body(redraw), state.error && failure(state.error)),
      h('div', { class: 'row end' }, button(act ? 'Cancel' : 'Close', close), ok),
    );
    draw(element, form);
  }

  redraw();
  element.showModal();
  return { redraw, close };
}

/** Asks yes or no. */
export function ask(title, text, confirm, act, done, kind = 'danger') {
  return dialog({ title, confirm, kind, act, done, body: () => [text].flat().map((t) => h('p', {}, t)) });
}
