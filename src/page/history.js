// The history: every picture, however many; only those that are seen are elements.
import {h, fill, keyed, signal, later, toast, when} from './dom.js';
import {ask, job, changed, pathOf, lists, tellDeleted, imageOf} from './server.js';
import {pictureOf, chosen, choose} from './stage.js';
import {bar, batchOf} from './telling.js';

const PAGE = 200;
const KEEP_SECONDS = 8; // that a deletion can be undone

const items = signal([]); // from the newest down
const open = signal(null); // the picture that is looked at
let next = 0; // `after` of the next page; null: there is none
let loading = null;
const gone = new Set(); // keys of pictures that are being deleted
let first = null; // of a comparison
const sought = {search: '', model: '', since: '', until: ''};

const keyOf = (item) => item.job + '-' + item.index;

// ---- loading

function query(after, limit) {
  const day = (text, more) => new Date(text + 'T00:00').getTime() / 1000 + more;
  const q = new URLSearchParams({limit});
  for (const key of ['search', 'model']) {
    if (sought[key]) {
      q.set(key, sought[key]);
    }
  }
  if (sought.since) {
    q.set('since', day(sought.since, 0));
  }
  if (sought.until) {
    q.set('until', day(sought.until, 86400));
  }
  if (after) {
    q.set('after', after);
  }
  return 'history?' + q;
}

async function more() {
  if (loading || next === null) {
    return;
  }
  const stop = new AbortController();
  loading = stop;
  try {
    const page = await ask('GET', query(next, PAGE), undefined, {stop: stop.signal});
    next = page.next;
    items.set([...items.get(), ...page.items]);
  } catch (error) {
    if (error.name !== 'AbortError') {
      next = null;
      empty.textContent = error.message;
    }
  } finally {
    if (loading === stop) {
      loading = null;
    }
  }
}

function anew() {
  if (loading) {
    loading.abort();
    loading = null;
  }
  next = 0;
  items.set([]);
  more();
}

// What came since, in front; what has gone, away.
const catchUp = later(async () => {
  const known = items.get();
  try {
    const page = await ask('GET', query(0, PAGE));
    const last = page.items.length ? page.items[page.items.length - 1].n : 0;
    if (!known.length || page.next === null || known[0].n < last) {
      next = page.next;
      items.set(page.items);
    } else {
      items.set([...page.items, ...known.filter((item) => item.n < last)]);
    }
  } catch {
    // the stream tells when it is back
  }
}, 150);

// ---- deleting

const pending = new Map(); // path: timer

async function forget(path) {
  clearTimeout(pending.get(path));
  pending.delete(path);
  await ask('DELETE', 'history/' + path, undefined, {keepalive: true}).catch((error) => error.status !== 404 && toast(error.message));
  tellDeleted();
}

// One picture; `all`: those that were asked for with it, too.
function remove(item, all = false) {
  const path = all ? item.job : `${item.job}/${item.index}`;
  // Not those that are being deleted by themselves: an undo brings back what it took.
  const keys = all ? items.get().filter((one) => one.job === item.job).map(keyOf).filter((key) => !gone.has(key)) : [keyOf(item)];
  keys.forEach((key) => gone.add(key));
  pending.set(path, setTimeout(() => forget(path), KEEP_SECONDS * 1000));
  open.set(null);
  items.set(items.get());
  toast(all ? 'All pictures of that request are deleted.' : 'Deleted.', ['Undo', () => {
    clearTimeout(pending.get(path));
    pending.delete(path);
    keys.forEach((key) => gone.delete(key));
    items.set(items.get());
  }], KEEP_SECONDS * 1000);
}

addEventListener('pagehide', () => [...pending.keys()].forEach(forget));

// ---- the grid

const empty = h('p', {class: 'note'});
const sheet = h('div', {class: 'sheet'});
const scroller = h('div', {class: 'scroller', tabindex: -1}, sheet, empty);
let columns = 1;
let side = 160;

function cell(item) {
  const label = (item.parameters.split('\n')[0] || 'no prompt') + ', ' + when(item.created);
  const node = h('button', {class: 'cell', 'aria-label': label, title: label, tabindex: -1, onclick: () => pick(item), onkeydown: (event) => keys(event, item)},
    h('img', {alt: '', decoding: 'async', width: 320, height: 320}));
  node.address = pathOf(item.url) + '?size=320';
  return node;
}

// ---- what flies by

const GLANCE = 330; // milliseconds; what is in sight for less is not fetched
let before = {at: 0, top: 0}; // where the scroller stood, and when
let flies = false;

function fetchPictures() {
  for (const node of sheet.children) {
    if (!node.firstChild.src) {
      node.firstChild.src = node.address;
    }
  }
}

const rest = later(() => {
  flies = false;
  fetchPictures();
}, 100);

function scrolled() { // comes once a frame, before it is drawn
  const [at, top] = [performance.now(), scroller.scrollTop];
  flies = scroller.clientHeight * (at - before.at) < GLANCE * Math.abs(top - before.top);
  before = {at, top};
  draw(false);
  rest();
}

const shownItems = () => items.get().filter((item) => !gone.has(keyOf(item)));

let drawn = ''; // what the cells show

// `anyway`: not only where other rows have come into sight.
function draw(anyway) {
  const {scrollTop, clientHeight, clientWidth} = scroller; // read before anything is written
  const width = clientWidth - 2;
  if (width <= 0) {
    return;
  }
  columns = Math.max(2, Math.floor(width / 168));
  side = Math.floor(width / columns);
  const from = Math.max(0, Math.floor(scrollTop / side) - 2);
  const to = Math.ceil((scrollTop + clientHeight) / side) + 2;
  const now = [from, to, columns, side].join();
  if (now === drawn && !anyway) {
    return;
  }
  drawn = now;
  const list = shownItems();
  sheet.style.blockSize = Math.ceil(list.length / columns) * side + 'px';
  const seen = list.slice(from * columns, to * columns).map((item, i) => ({item, at: from * columns + i}));
  const current = open.get() && keyOf(open.get());
  keyed(sheet, seen, ({item}) => keyOf(item), ({item}) => cell(item), (node, {item, at}) => {
    const place = [at, columns, side].join();
    if (node.place !== place) {
      node.place = place;
      node.style.transform = `translate(${at % columns * side}px, ${Math.floor(at / columns) * side}px)`;
      node.style.inlineSize = node.style.blockSize = side - 6 + 'px';
    }
    node.tabIndex = current ? keyOf(item) === current ? 0 : -1 : at === 0 ? 0 : -1;
    node.setAttribute('aria-pressed', String(keyOf(item) === current));
    node.classList.toggle('first', Boolean(first && keyOf(first) === keyOf(item)));
  });
  if (!flies) {
    fetchPictures();
  }
  empty.hidden = list.length > 0 || Boolean(loading);
  empty.textContent = sought.search || sought.model || sought.since || sought.until ? 'No picture fits that.' : 'No pictures yet. What is made is kept here.';
  if (to * columns > list.length - columns * 4) {
    more();
  }
}

let drawing = 0;
function drawSoon() {
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => draw(true));
}

function pick(item) {
  if (first && keyOf(first) !== keyOf(item)) {
    const other = first;
    first = null;
    Promise.all([job(other.job), job(item.job)]).then(([a, b]) => compare({job: a, index: other.index}, {job: b, index: item.index}))
      .catch((error) => toast(error.message));
    told.textContent = '';
    drawSoon();
    return;
  }
  open.set(item);
}

function begin(item) {
  first = item;
  told.textContent = 'Choose the picture to compare it with. Esc gives up.';
  open.set(null);
}

function keys(event, item) {
  const list = shownItems();
  const at = list.findIndex((one) => keyOf(one) === keyOf(item));
  const to = {ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: list.length - 1}[event.key];
  if (to !== undefined && list[to]) {
    event.preventDefault();
    focusOn(list, to);
  } else if (event.key === 'Delete') {
    event.preventDefault();
    remove(item);
  } else if (event.key === 'c' && !event.ctrlKey && !event.metaKey) {
    begin(item);
  } else if (event.key === 'Escape' && (first || open.get())) {
    event.preventDefault();
    first = null;
    told.textContent = '';
    open.set(null);
  }
}

function focusOn(list, to) {
  const top = Math.floor(to / columns) * side;
  if (top < scroller.scrollTop) {
    scroller.scrollTop = top;
  } else if (top + side > scroller.scrollTop + scroller.clientHeight) {
    scroller.scrollTop = top + side - scroller.clientHeight;
  }
  if (open.get()) {
    open.set(list[to]);
  }
  draw(true);
  sheet.known.get(keyOf(list[to]))?.focus({preventScroll: true});
}

// ---- two beside each other: under one slider, with what differs and where each one's time went

const LABELS = {prompt: 'Prompt', negative_prompt: 'Not in it', model: 'Model', width: 'Width', height: 'Height', steps: 'Steps', sampler: 'Sampler',
  schedule: 'Schedule', cfg: 'CFG', guidance: 'Distilled guidance', seed: 'Seed', strength: 'Redone', hires_scale: 'Times as large', hires_steps: 'Steps of the second pass',
  hires_strength: 'Redone by the second pass', hires_upscaler: 'Enlarged by', vae: 'VAE', clip_skip: 'Clip skip', rng: 'Random numbers',
  variation_strength: 'Variation', cfg_rescale: 'CFG rescale', eta: 'Eta'};

function factsOf({job, index}) {
  const image = imageOf(job, index);
  return {...job.request, seed: image.seed, width: image.width, height: image.height};
}

// [[label, of a, of b]] of what differs.
function differences(a, b) {
  const [x, y] = [factsOf(a), factsOf(b)];
  return Object.entries(LABELS).filter(([key]) => String(x[key] ?? '') !== String(y[key] ?? '')).map(([key, label]) => [label, String(x[key] ?? '–'), String(y[key] ?? '–')]);
}

function timed(name, one, longest) {
  const batch = batchOf(one.job, one.index);
  const share = batch ? 100 * batch.line.wall_seconds / longest : 0;
  return h('section', {class: 'timed', 'aria-label': `Time of ${name}`}, h('h3', null, name),
    batch ? [h('div', {style: {'inline-size': `max(${share}%, 8rem)`}}, bar(one.job, batch)), h('p', {class: 'line'}, batch.line.text)] : h('p', {class: 'note'}, 'No times are known.'));
}

const comparison = h('dialog', {class: 'compare', 'aria-label': 'Two pictures compared'});

function compare(a, b) {
  const [left, right] = [a, b].map((one) => h('img', {src: pathOf(imageOf(one.job, one.index).url), alt: one.job.request.prompt || 'a picture'}));
  const line = h('div', {class: 'split'});
  const slider = h('input', {type: 'range', min: 0, max: 100, step: 0.5, value: 50, 'aria-label': 'How much is seen of each', oninput: () => {
    right.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    line.style.insetInlineStart = slider.value + '%';
  }});
  const [x, y] = [a, b].map((one) => imageOf(one.job, one.index));
  const longest = Math.max(...[a, b].map((one) => batchOf(one.job, one.index)?.line.wall_seconds || 0));
  const rows = differences(a, b);
  fill(comparison, h('div', {class: 'bar-of-detail'}, h('h2', null, 'Left and right'), h('button', {class: 'quiet close', 'aria-label': 'Close', onclick: () => comparison.close()}, '✕')),
    h('div', {class: 'both', style: {'aspect-ratio': `${Math.max(x.width, y.width)} / ${Math.max(x.height, y.height)}`}}, left, right, line, slider),
    rows.length ? h('table', null, h('thead', null, h('tr', null, h('td'), h('th', {scope: 'col'}, 'Left'), h('th', {scope: 'col'}, 'Right'))),
      h('tbody', null, rows.map(([label, one, other]) => h('tr', null, h('th', {scope: 'row'}, label), h('td', {dir: 'auto'}, one), h('td', {dir: 'auto'}, other)))))
      : h('p', {class: 'note'}, 'They were made from the same settings.'),
    timed('Left', a, longest), timed('Right', b, longest));
  document.body.append(comparison);
  comparison.showModal();
  slider.dispatchEvent(new Event('input'));
  slider.focus();
}

// ---- beside it

const told = h('p', {class: 'told', role: 'status'});
const detail = h('aside', {class: 'detail', 'aria-label': 'The picture', hidden: true});

async function showDetail(item) {
  detail.hidden = !item;
  drawSoon();
  if (!item) {
    return;
  }
  try {
    const whole = await job(item.job);
    if (open.get() === item) {
      fill(detail, h('div', {class: 'bar-of-detail'}, h('button', {class: 'quiet', onclick: () => begin(item)}, 'Compare with another'),
        h('button', {class: 'quiet', onclick: () => remove(item)}, 'Delete'),
        whole.images.length > 1 && h('button', {class: 'quiet', onclick: () => remove(item, true)}, `Delete all ${whole.images.length}`),
        h('button', {class: 'quiet close', 'aria-label': 'Close', onclick: () => {
          open.set(null);
          sheet.known.get(keyOf(item))?.focus();
        }}, '✕')), pictureOf({job: whole, index: item.index}));
    }
  } catch (error) {
    fill(detail, h('p', {class: 'note'}, error.message));
  }
}

const seek = later(anew, 200);

export function makeHistory() {
  const set = (name) => (event) => {
    sought[name] = event.target.value;
    seek();
  };
  const model = h('select', {'aria-label': 'Model', onchange: set('model')});
  lists.watch((l) => l && fill(model, h('option', {value: ''}, 'Every model'), l.models.map((m) => h('option', {value: m.model_name}, m.model_name))));
  const view = h('div', {class: 'history'}, h('div', {class: 'found'},
    h('form', {class: 'seek', role: 'search', onsubmit: (event) => event.preventDefault()},
      h('input', {type: 'search', id: 'search', placeholder: 'Search in what made them', 'aria-label': 'Search', oninput: set('search')}), model,
      h('div', {class: 'dates'}, h('label', null, h('span', null, 'from'), h('input', {type: 'date', onchange: set('since')})),
        h('label', null, h('span', null, 'to'), h('input', {type: 'date', onchange: set('until')})))),
    told, scroller), detail);
  scroller.addEventListener('scroll', scrolled, {passive: true});
  new ResizeObserver(drawSoon).observe(scroller);
  items.watch(drawSoon, false);
  open.watch(showDetail);
  anew();
  changed.watch(catchUp, false);
  return view;
}

// ---- the newest, beside the picture

export function makeRecent() {
  const thumbs = h('div', {class: 'thumbs'});
  const box = h('aside', {class: 'recent', 'aria-label': 'The newest pictures'}, thumbs);
  const [width, gap, columns] = [88, 8, 2];
  const place = (node, at) => node.style.transform = `translate(${at % columns * (width + gap)}px, ${Math.floor(at / columns) * (width + gap)}px)`;
  const show = later(async () => {
    const page = await ask('GET', 'history?limit=40').catch(() => null);
    if (page) {
      const at = new Map(page.items.map((item, i) => [keyOf(item), i]));
      thumbs.style.blockSize = Math.ceil(page.items.length / columns) * (width + gap) + 'px';
      keyed(thumbs, page.items, keyOf, (item) => h('button', {class: 'cell', 'aria-label': item.parameters.split('\n')[0] || 'no prompt',
        style: {'inline-size': width + 'px', 'block-size': width + 'px'}, onclick: () => choose(item.job, item.index)},
      h('img', {src: pathOf(item.url) + '?size=320', alt: '', width: 320, height: 320, decoding: 'async', loading: 'lazy'})), (node, item) => place(node, at.get(keyOf(item))));
      mark();
    }
  }, 120);
  const mark = () => {
    const now = chosen.get();
    for (const [key, node] of thumbs.known || []) {
      node.setAttribute('aria-pressed', String(Boolean(now && key === now.job + '-' + now.index)));
    }
  };
  changed.watch(show);
  chosen.watch(mark);
  return box;
}

// `/` leads here.
export const seekBox = () => document.getElementById('search');
