// A definition as YAML, to be read. The server keeps it as JSON.

import { kind, write } from './json.js';

const PLAIN = /^([A-Za-z_/][A-Za-z0-9_./@ -]*|[0-9.]+(ms|s|m|h|d))$/;
/** Rejoin reads YAML 1.2: `on` and `yes` are text. */
const WORDS = /^(true|false|null)$/i;
/** Lists and objects that are no longer stand in one line. */
const LINE_MAX = 72;

export function yaml(value) {
  return block(value, '').replace(/^\n/, '');
}

function block(value, indent) {
  const of = kind(value);
  if ((of !== 'list' && of !== 'object') || isEmpty(value)) return ` ${inline(value)}`;
  const short = inline(value);
  if (indent !== '' && short.length + indent.length <= LINE_MAX && isFlat(value)) return ` ${short}`;
  const lines = of === 'list' ? value.map((item) => entry(item, indent)) : members(value, indent);
  return `\n${lines.join('\n')}`;
}

function members(value, indent) {
  return Object.entries(value).map(([key, member]) => `${indent}${scalar(key)}:${block(member, `${indent}  `)}`);
}

function entry(item, indent) {
  if (kind(item) !== 'object' || isEmpty(item)) return `${indent}-${block(item, `${indent}  `)}`;
  return `${indent}- ${members(item, `${indent}  `).join('\n').trimStart()}`;
}

function isEmpty(value) {
  return Object.keys(value).length === 0;
}

/** Whether nothing in it holds anything that holds something. */
function isFlat(value) {
  const holds = (inner) =>
    ['list', 'object'].includes(kind(inner)) && Object.values(inner).some((v) => v && typeof v === 'object');
  return !Object.values(value).some(holds);
}

function inline(value) {
  switch (kind(value)) {
    case 'list':
      return `[${value.map(inline).join(', ')}]`;
    case 'object':
      return isEmpty(value)
        ? '{}'
        : `{ ${Object.entries(value)
            .map(([k, v]) => `${scalar(k)}: ${inline(v)}`)
            .join(', ')} }`;
    case 'string':
      return scalar(value);
    default:
      return write(value);
  }
}

function scalar(text) {
  return PLAIN.test(text) && !WORDS.test(text) && !text.endsWith(' ') ? text : JSON.stringify(text);
}
