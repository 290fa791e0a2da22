// Graphs: which node stands in which row, and the lines from what is needed to what needs it.

const SVG = 'http://www.w3.org/2000/svg';

/** Rows of flows: each node stands one row below the lowest of those it needs. */
export function layers(flows) {
  const byName = new Map(flows.map((flow) => [flow.name, flow]));
  const rows = new Map();
  const rowOf = (flow) => {
    if (!rows.has(flow.name)) {
      // Cycles are refused at registration; this keeps a strange answer from never ending.
      rows.set(flow.name, 0);
      const above = (flow.needs ?? [])
        .map((name) => byName.get(name))
        .filter(Boolean)
        .map(rowOf);
      rows.set(flow.name, above.length > 0 ? Math.max(...above) + 1 : 0);
    }
    return rows.get(flow.name);
  };
  const all = [];
  for (const flow of flows) (all[rowOf(flow)] ??= []).push(flow);
  return all;
}

/** Draws the lines of the graph in `place`, anew whenever its size changes. */
export function edges(place) {
  new ResizeObserver(() => lines(place)).observe(place);
}

function lines(place) {
  const svg = place.querySelector(':scope > svg');
  const frame = place.getBoundingClientRect();
  const nodes = new Map(
    [...place.querySelectorAll(':scope > .layer > [data-node]')].map((node) => [node.dataset.node, node]),
  );
  const drawn = [];
  const isNeeded = new Set();
  const top = { left: frame.left, width: frame.width, bottom: frame.top };
  const bottom = { left: frame.left, width: frame.width, top: frame.bottom };
  const join = (from, to) => drawn.push(line(from, to, frame));
  for (const node of nodes.values()) {
    const needs = JSON.parse(node.dataset.needs).filter((name) => nodes.has(name));
    const box = node.getBoundingClientRect();
    if (needs.length === 0) join(top, box);
    for (const name of needs) {
      isNeeded.add(name);
      join(nodes.get(name).getBoundingClientRect(), box);
    }
  }
  for (const [name, node] of nodes) {
    if (!isNeeded.has(name)) join(node.getBoundingClientRect(), bottom);
  }
  svg.setAttribute('width', place.scrollWidth);
  svg.setAttribute('height', place.scrollHeight);
  svg.replaceChildren(...drawn);
}

/** From the middle below `from` to the middle above `to`. */
function line(from, to, frame) {
  const [x1, y1] = [from.left + from.width / 2 - frame.left, from.bottom - frame.top];
  const [x2, y2] = [to.left + to.width / 2 - frame.left, to.top - frame.top];
  const bend = Math.abs(y2 - y1) / 2;
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`);
  return path;
}
