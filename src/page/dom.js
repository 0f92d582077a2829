// What every view stands on: elements, keyed lists, values that are watched, and how numbers are written.

const SVG = 'http://www.w3.org/2000/svg';

function put(node, name, value) {
  if (value === null || value === undefined || value === false) {
    return;
  }
  if (name.startsWith('on')) {
    node.addEventListener(name.slice(2), value);
  } else if (name === 'style') {
    for (const [key, one] of Object.entries(value)) {
      node.style.setProperty(key, one); // an attribute would be refused by the page's policy
    }
  } else if (name === 'value' || name === 'checked' || name === 'selected') {
    node[name] = value;
  } else {
    node.setAttribute(name, value === true ? '' : value);
  }
}

function build(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (name !== 'value') {
      put(node, name, value);
    }
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  if (props && props.value !== undefined) {
    put(node, 'value', props.value); // of a select: after its options
  }
  return node;
}

// An element: h('button', {onclick: f, class: 'quiet'}, 'text', child, [more]).
export function h(tag, props, ...children) {
  return build(document.createElement(tag), props, children);
}

export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

export function fill(node, ...children) {
  node.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// Makes `parent` show `items` in order, one element for each key. Elements stay while their key does.
export function keyed(parent, items, keyOf, make, update) {
  const known = parent.known || (parent.known = new Map());
  const seen = new Set(items.map(keyOf));
  for (const [key, node] of known) { // first: else all that stay would be moved in front of those that go
    if (!seen.has(key)) {
      known.delete(key);
      node.remove();
    }
  }
  let at = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = known.get(key);
    if (!node) {
      node = make(item);
      known.set(key, node);
    }
    if (update) {
      update(node, item);
    }
    if (node === at) {
      at = at.nextSibling;
    } else {
      parent.insertBefore(node, at);
    }
  }
}

// A value and who watches it.
export function signal(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      value = next;
      for (const watcher of [...watchers]) {
        watcher(value);
      }
    },
    watch(watcher, now = true) {
      watchers.add(watcher);
      if (now) {
        watcher(value);
      }
      return () => watchers.delete(watcher);
    },
  };
}

// Calls `f` when it has not been asked to for so long.
export function later(f, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...values), milliseconds);
  };
}

// What this browser remembers; a browser that remembers nothing is fine, too, and so is one that remembers something
// of another kind.
const alike = (a, b) => b === null || typeof a === typeof b && Array.isArray(a) === Array.isArray(b);
export const memory = {
  get(key, fallback) {
    try {
      const value = JSON.parse(localStorage.getItem('ballast.' + key)) ?? fallback;
      return alike(value, fallback) ? value : fallback;
    } catch {
      return fallback;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem('ballast.' + key, JSON.stringify(value));
    } catch {
      // full, or forbidden
    }
  },
};

// The same for what is too large for that: pictures.
async function onShelf(mode, act) {
  const asked = indexedDB.open('ballast', 1);
  const done = (of, well) => new Promise((yes, no) => {
    of[well] = () => yes(of.result);
    of.onerror = of.onabort = () => no(of.error);
  });
  asked.onupgradeneeded = () => asked.result.createObjectStore('shelf');
  const db = await done(asked, 'onsuccess');
  try {
    const all = db.transaction('shelf', mode);
    const one = act(all.objectStore('shelf'));
    await done(all, 'oncomplete');
    return one.result;
  } finally {
    db.close();
  }
}
export const shelf = {
  get: (key) => onShelf('readonly', (all) => all.get(key)).catch(() => undefined),
  set: (key, value) => onShelf('readwrite', (all) => value === undefined ? all.delete(key) : all.put(value, key)).catch(() => undefined),
};

// "0.42 s", "6.3 s", "41 s", "3 min 40 s", "2 h 5 min".
export function seconds(value) {
  if (!(value >= 0)) {
    return '';
  }
  if (value < 60) {
    return (value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : Math.round(value)) + ' s';
  }
  const whole = Math.round(value);
  return whole < 3600 ? `${Math.floor(whole / 60)} min ${whole % 60} s`
    : `${Math.floor(whole / 3600)} h ${Math.round(whole % 3600 / 60)} min`;
}

// As the command writes them.
export function bytes(value) {
  const units = [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]];
  for (const [unit, size] of units) {
    if (value >= size) {
      const number = value / size;
      return number.toFixed(number < 10 && unit === 'GB' ? 2 : number < 10 ? 1 : 0) + ' ' + unit;
    }
  }
  return Math.round(value) + ' B';
}

const CLOCK = new Intl.DateTimeFormat([], {hour: '2-digit', minute: '2-digit'}); // made once: that is slow
const DAY = new Intl.DateTimeFormat([], {day: 'numeric', month: 'short', year: 'numeric'});

export function when(time) {
  const date = new Date(time * 1000);
  return (new Date().toDateString() === date.toDateString() ? CLOCK : DAY).format(date);
}

// A line at the bottom for a while; `action`: [label, what it does]. It stays where it is: one that comes takes the
// lowest place that is free.
export function toast(text, action, milliseconds = 6000) {
  const close = () => {
    clearTimeout(timer);
    line.remove();
  };
  const line = h('div', {class: 'toast'}, h('span', null, text),
    action && h('button', {class: 'quiet', onclick: () => {
      close();
      action[1]();
    }}, action[0]));
  const timer = setTimeout(close, milliseconds);
  const box = document.getElementById('toasts');
  const others = [...box.children].map((node) => [node.base, node.base + node.offsetHeight + 8]).sort(([a], [b]) => a - b);
  box.append(line);
  line.base = others.reduce((at, [from, to]) => at + line.offsetHeight + 8 <= from ? at : Math.max(at, to), 0);
  line.style.insetBlockEnd = line.base + 'px';
  return close;
}

// An icon of one path, drawn in the colour of the text.
export function icon(path) {
  return svg('svg', {viewBox: '0 0 24 24', 'aria-hidden': 'true', class: 'icon'}, svg('path', {d: path}));
}
