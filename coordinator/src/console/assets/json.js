// JSON as it is: numbers that a double cannot hold, or would write otherwise (1.0), keep their text.

/** A number by its text. */
export class Exact {
  constructor(text) {
    this.text = text;
  }
}

/** JSON text that goes into a body as it was typed. */
export class Raw {
  constructor(text) {
    this.text = text;
  }
}

function keep(_key, value, context) {
  const source = context?.source;
  return typeof value === 'number' && source !== undefined && String(value) !== source ? new Exact(source) : value;
}

/** Reads JSON. Throws a SyntaxError that says where. */
export function parse(text) {
  return JSON.parse(text, keep);
}

/** Writes JSON, in one line or with two spaces a level. */
export function write(value, isPretty = false) {
  return put(value, isPretty ? '\n' : '');
}

function put(value, line) {
  if (value instanceof Exact || value instanceof Raw) return value.text;
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null';
  const deeper = line && `${line}  `;
  const isList = Array.isArray(value);
  const members = isList
    ? value.map((item) => put(item, deeper))
    : Object.entries(value)
        .filter(([, member]) => member !== undefined)
        .map(([key, member]) => `${JSON.stringify(key)}:${line && ' '}${put(member, deeper)}`);
  const [open, close] = isList ? '[]' : '{}';
  if (members.length === 0) return open + close;
  return `${open}${deeper}${members.join(`,${deeper}`)}${line}${close}`;
}

/** What a value is: null, boolean, number, string, list or object. */
export function kind(value) {
  if (value === null || value === undefined) return 'null';
  if (value instanceof Exact) return 'number';
  return Array.isArray(value) ? 'list' : typeof value;
}

/** Places that `after` has and `before` has not, or has with another value; places as in the tree of a value. */
export function changes(before, after, place = '', found = new Set()) {
  const [was, is] = [kind(before), kind(after)];
  if (was !== is || (is !== 'object' && is !== 'list')) {
    if (was !== is || write(before) !== write(after)) found.add(place);
    return found;
  }
  for (const key of Object.keys(after)) {
    const inside = `${place}/${key}`;
    if (Object.hasOwn(before, key)) changes(before[key], after[key], inside, found);
    else found.add(inside);
  }
  if (Object.keys(before).some((key) => !Object.hasOwn(after, key))) found.add(place);
  return found;
}
