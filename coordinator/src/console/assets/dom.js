// A tree of plain objects, laid over the page. What is shown goes into text nodes and attributes, never through a parser of HTML:
// nothing that a workflow, an input or a worker says can become markup. The server's policy (Trusted Types) refuses it, too.
//
//   view ──h(…)──▶ plain objects ──draw──▶ elements that are there already, changed where they differ
//
// So a page is written anew as a whole at each change, and focus, selection and scroll positions stay.

const SVG = 'http://www.w3.org/2000/svg';
const SVG_TAGS = new Set(['svg', 'g', 'path', 'circle', 'rect', 'line']);
const PROPERTIES = new Set(['value', 'checked', 'disabled', 'open', 'selected', 'readOnly', 'indeterminate']);
/** About drawing, not about the element. */
const NOT_PUT = new Set(['key', 'ref', 'own']);
/** What an element was drawn from. */
const DRAWN = Symbol('drawn');

/**
 * An element to be. Of `props`, `key` tells it from its siblings, `ref` is called with the element once it is there, and one with
 * `own` fills itself.
 */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, key: props?.key, children: flat(children) };
}

/** Makes the children of `parent` look like `children`. */
export function draw(parent, children) {
  place(parent, flat([children]));
}

function flat(children) {
  return children.flat(Infinity).map((child) => {
    if (child === null || child === undefined || child === false || child === '') return HOLE;
    return typeof child === 'object' ? child : { text: String(child) };
  });
}

/** Keeps the place of what is not shown now, so that its siblings keep theirs. */
const HOLE = { tag: '#hole' };

function place(parent, children) {
  const keyed = new Map();
  const others = [];
  for (const node of parent.childNodes) {
    const was = node[DRAWN];
    if (was?.key !== undefined) keyed.set(was.key, node);
    else if (was) others.push(node);
  }
  let next = 0;
  const kept = new Set();
  const nodes = children.map((child) => {
    const known = child.key === undefined ? others[next++] : keyed.get(child.key);
    const node = known && !kept.has(known) && isSame(known[DRAWN], child) ? known : make(child);
    kept.add(node);
    return node;
  });
  // What goes is taken away first: then what stays need not be moved, which would cost it the focus.
  for (const node of [...parent.childNodes]) {
    if (!kept.has(node)) node.remove();
  }
  let at = parent.firstChild;
  nodes.forEach((node, index) => {
    update(node, children[index]);
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  });
}

function isSame(was, child) {
  return was.tag === child.tag && was.key === child.key;
}

function make(child) {
  if (child === HOLE) return document.createComment('');
  if (child.text !== undefined) return document.createTextNode('');
  if (SVG_TAGS.has(child.tag)) return document.createElementNS(SVG, child.tag);
  return document.createElement(child.tag);
}

function update(node, child) {
  const was = node[DRAWN];
  // The very same object: nothing below it has changed.
  if (was === child) return;
  node[DRAWN] = child;
  if (child === HOLE) return;
  if (child.text !== undefined) {
    if (was?.text !== child.text) node.data = child.text;
    return;
  }
  // Children first: the value of a select needs its options. An element of its `own` fills itself.
  if (!child.props.own) place(node, child.children);
  for (const name of Object.keys(was?.props ?? {})) {
    if (!(name in child.props)) put(node, name, undefined, was.props[name]);
  }
  for (const [name, value] of Object.entries(child.props)) {
    put(node, name, value, was?.props[name]);
  }
  if (!was) child.props.ref?.(node);
}

function put(node, name, value, was) {
  if (NOT_PUT.has(name) || value === was) return;
  if (name.startsWith('on')) {
    node[name] = typeof value === 'function' ? value : null;
  } else if (name === 'style') {
    for (const [key, text] of Object.entries(value ?? {})) node.style.setProperty(key, text);
  } else if (PROPERTIES.has(name)) {
    // What a person has typed stays until the page itself wants another value.
    if (node[name] !== value) node[name] = value ?? (name === 'value' ? '' : false);
  } else if (value === undefined || value === null || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, name === 'href' ? address(value) : value === true ? '' : String(value));
  }
}

/** Links lead to places of this page and of this server only. */
function address(href) {
  return /^(#|\/|\.\.?\/)/.test(href) ? href : '#/';
}
