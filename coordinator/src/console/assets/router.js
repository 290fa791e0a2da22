// The address bar: `#/runs/ID/steps?state=failed&ns=team`. A namespace other than the default travels in `ns`, so that links can be shared.

/** Where we are: the parts of the path, and the query. */
export function here() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  return { parts: path.split('/').filter(Boolean).map(unescaped), query: new URLSearchParams(query) };
}

/** A link. Members of `query` without a value are left out. */
export function link(parts, query = {}) {
  const params = new URLSearchParams();
  const ns = here().query.get('ns');
  for (const [key, value] of Object.entries(ns && !('ns' in query) ? { ...query, ns } : query)) {
    for (const one of [value].flat()) {
      if (one !== undefined && one !== null && one !== '') params.append(key, one);
    }
  }
  const path = parts.map(encodeURIComponent).join('/');
  const text = params.toString();
  return text ? `#/${path}?${text}` : `#/${path}`;
}

export function go(href) {
  location.hash = href;
}

/** Goes there without another entry in the history. */
export function replace(href) {
  history.replaceState(null, '', href);
  window.dispatchEvent(new HashChangeEvent('hashchange'));
}

/** Members of the query, with what `changed` says instead. */
export function queryWith(changed) {
  const query = {};
  for (const key of new Set(here().query.keys())) query[key] = here().query.getAll(key);
  return { ...query, ...changed };
}

function unescaped(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
