// Signs, drawn on a field of 16 by 16: fonts do not have the same ones everywhere.

import { h } from './dom.js';

const CIRCLE = 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11';

const LINES = {
  // States, each with a sign of its own, so that nobody depends on colours.
  scheduled: `${CIRCLE}M8 5v3.2l2 1.3`,
  pending: CIRCLE,
  running: 'M5.5 3.5v9l7-4.5z',
  retrying: 'M12.5 5.5A5 5 0 1 0 13 9M13 2.5v3.3H9.7',
  waiting:
    'M4.5 2.5h7M4.5 13.5h7M5.5 2.5c0 3 2.5 4 2.5 5.5s-2.5 2.5-2.5 5.5M10.5 2.5c0 3-2.5 4-2.5 5.5s2.5 2.5 2.5 5.5',
  parked: 'M6 13V3h2.7a2.8 2.8 0 0 1 0 5.6H6',
  paused: 'M5.8 3.5v9M10.2 3.5v9',
  compensating: 'M6 3L3 6l3 3M3 6h6.5a3.5 3.5 0 0 1 0 7H7',
  completed: 'M3.5 8.5l3 3l6-7',
  failed: 'M4 4l8 8M12 4l-8 8',
  compensation_failed: 'M4 4l8 8M12 4l-8 8',
  cancelled: 'M4 8h8',
  skipped: 'M3.5 4.5L7 8l-3.5 3.5M8.5 4.5L12 8l-3.5 3.5',
  none: 'M7.6 8h.8',
  // What buttons do.
  close: 'M4 4l8 8M12 4l-8 8',
  copy: 'M6 5.5h6.5v8H6zM3.5 10.5v-8H10',
  first: 'M4 4v8M12 4L7 8l5 4',
  back: 'M10.5 4L5.5 8l5 4',
  on: 'M5.5 4l5 4l-5 4',
  last: 'M12 4v8M4 4l5 4l-5 4',
  outline: 'M3 4h10M6 8h7M6 12h7',
  diagram: 'M8 2v3M3.5 11V8h9v3M8 5v3M2 11h3v3H2zM11 11h3v3h-3z',
  plus: 'M8 4v8M4 8h8',
  minus: 'M4 8h8',
};

export function icon(name) {
  return h(
    'svg',
    { viewBox: '0 0 16 16', class: 'i', 'aria-hidden': 'true' },
    h('path', { d: LINES[name] ?? LINES.none }),
  );
}
