// What a person types: fields, JSON that is checked before it is sent, and forms made of a JSON Schema.

import { h } from './dom.js';
import { Raw, kind, parse, write } from './json.js';

let serial = 0;

/** A field with its label above it. `make(id)` draws the control. */
export function field(label, make, hint) {
  return h(
    'div',
    { class: 'field' },
    h('label', {}, h('span', {}, label), make()),
    hint && h('p', { class: 'hint' }, hint),
  );
}

export function input(value, oninput, props = {}) {
  return h('input', {
    type: 'text',
    autocomplete: 'off',
    spellcheck: 'false',
    value,
    oninput: (event) => oninput(event.target.value),
    ...props,
  });
}

export function check(label, checked, onchange) {
  return h(
    'label',
    { class: 'check' },
    h('input', { type: 'checkbox', checked, onchange: (event) => onchange(event.target.checked) }),
    h('span', {}, label),
  );
}

/** `options` are values, or pairs of value and text. */
export function select(value, options, onchange, props = {}) {
  const option = (one) => {
    const [of, text] = Array.isArray(one) ? one : [one, one];
    return h('option', { value: of, key: of }, text);
  };
  return h('select', { onchange: (event) => onchange(event.target.value), ...props, value }, options.map(option));
}

/** JSON being typed: `text`, and what is wrong with it. An empty one is not sent. */
export class JsonText {
  constructor(text = '') {
    this.id = `json-${(serial += 1)}`;
    this.text = text;
  }

  get error() {
    if (this.text.trim() === '') return null;
    try {
      parse(this.text);
      return null;
    } catch (error) {
      return error.message;
    }
  }

  get isOk() {
    return this.error === null;
  }

  /** As it was typed, so that no number changes; nothing if nothing was. */
  get raw() {
    return this.text.trim() === '' ? undefined : new Raw(this.text);
  }

  draw(label, redraw, { hint, rows = 8 } = {}) {
    const { error } = this;
    const format = () => {
      this.text = write(parse(this.text), true);
      redraw();
    };
    return h(
      'div',
      { class: 'field' },
      h('label', { for: this.id }, label),
      h('textarea', {
        id: this.id,
        class: 'mono',
        rows,
        spellcheck: 'false',
        value: this.text,
        'aria-invalid': error ? 'true' : undefined,
        oninput: (event) => {
          this.text = event.target.value;
          redraw();
        },
      }),
      h(
        'p',
        { class: error ? 'hint bad' : 'hint' },
        error
          ? `No JSON: ${error}`
          : this.text.trim() === ''
            ? (hint ?? 'Empty')
            : ['JSON ', h('button', { type: 'button', class: 'linkish', onclick: format }, 'format')],
      ),
    );
  }
}

/** Something that a schema may take, to begin with: what is required, defaults, the first of an enum. */
export function skeleton(schema) {
  if (kind(schema) !== 'object') return null;
  if ('default' in schema) return schema.default;
  if ('const' in schema) return schema.const;
  if (Array.isArray(schema.enum)) return schema.enum[0];
  switch ([schema.type].flat()[0]) {
    case 'string':
      return '';
    case 'integer':
    case 'number':
      return schema.minimum ?? 0;
    case 'boolean':
      return false;
    case 'array':
      return schema.items && schema.minItems > 0 ? [skeleton(schema.items)] : [];
    case 'object':
    default: {
      if (schema.type === undefined && !schema.properties && !schema.required) return null;
      const names = schema.required ?? Object.keys(schema.properties ?? {});
      return Object.fromEntries(names.map((name) => [name, skeleton(schema.properties?.[name] ?? {})]));
    }
  }
}

/** A form for an object of plain values, or null if the schema asks for more than that. */
export class SchemaForm {
  static of(schema) {
    const isPlain = (s) =>
      kind(s) === 'object' && (Array.isArray(s.enum) || ['string', 'integer', 'number', 'boolean'].includes(s.type));
    const properties = Object.entries(schema?.properties ?? {});
    const isKnown = properties.length > 0 && properties.every(([, s]) => isPlain(s));
    const isWhole = (schema?.required ?? []).every((name) => name in (schema.properties ?? {}));
    return isKnown && isWhole ? new SchemaForm(schema, properties) : null;
  }

  constructor(schema, properties) {
    this.schema = schema;
    this.properties = properties;
    this.values = {};
    for (const [name, of] of properties) {
      if ('default' in of) this.values[name] = of.default;
      else if (of.type === 'boolean' && this.isRequired(name)) this.values[name] = false;
    }
  }

  isRequired(name) {
    return (this.schema.required ?? []).includes(name);
  }

  get isReady() {
    return (this.schema.required ?? []).every((name) => this.values[name] !== undefined);
  }

  get value() {
    return this.values;
  }

  draw(redraw) {
    return this.properties.map(([name, of]) => this.control(name, of, redraw));
  }

  control(name, of, redraw) {
    const label = `${of.title ?? name}${this.isRequired(name) ? '' : ' (optional)'}`;
    const set = (value) => {
      this.values[name] = value;
      redraw();
    };
    const value = this.values[name];
    if (Array.isArray(of.enum)) {
      const at = of.enum.findIndex((one) => write(one) === write(value ?? null));
      const options = [
        ['-1', 'choose …'],
        ...of.enum.map((one, i) => [String(i), typeof one === 'string' ? one : write(one)]),
      ];
      return field(label, () => select(String(at), options, (i) => set(of.enum[Number(i)])), of.description);
    }
    if (of.type === 'boolean')
      return h(
        'div',
        { class: 'field' },
        check(label, value === true, set),
        of.description && h('p', { class: 'hint' }, of.description),
      );
    if (of.type === 'string')
      return field(
        label,
        () => input(value ?? '', (text) => set(text === '' && !this.isRequired(name) ? undefined : text)),
        of.description,
      );
    const number = (text) => (/^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text) ? new Raw(text) : undefined);
    const bounds = { inputmode: of.type === 'integer' ? 'numeric' : 'decimal' };
    const shown = value === undefined ? undefined : write(value);
    return field(
      label,
      () => input(shown, (text) => set(number(text.trim())), bounds),
      of.description ?? `a ${of.type}`,
    );
  }
}
