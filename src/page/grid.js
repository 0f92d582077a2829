// Grids: one or two things vary, everything else is as in the form. Priced before they start, gone on with after a
// reload, saved as one picture or as rows.
import {h, fill, later, memory, shelf, seconds, toast} from './dom.js';
import {ask, job, lists, settings, changed, pathOf} from './server.js';
import {values, start} from './inputs.js';
import {requestOf, planSeconds, randomKey} from './form.js';
import {choose} from './stage.js';

const MOST = 100;
const numbers = (text) => text.split(/[,\s]+/).filter(Boolean).map(Number);
const words = (text) => text.split(',').map((one) => one.trim()).filter(Boolean);

// What may vary: label, an example, reading a text into values, and putting one into a request.
const AXES = {
  steps: ['Steps', '10, 20, 40', numbers, (body, v) => ({...body, steps: v})],
  cfg: ['Guidance (CFG)', '3, 5, 7, 9', numbers, (body, v) => ({...body, cfg_scale: v})],
  seed: ['Seed', '1, 2, 3', words, (body, v) => ({...body, seed: v})],
  sampler: ['Sampler', 'Euler a, DPM++ 2M', words, (body, v) => ({...body, sampler_name: v})],
  schedule: ['Schedule', 'karras, normal', words, (body, v) => ({...body, scheduler: v})],
  model: ['Model', '', words, (body, v) => ({...body, model: v})],
  words: ['Words of the prompt', 'castle, lighthouse', words, (body, v, all) => ({...body, prompt: body.prompt.replaceAll(all[0], v)})],
  lora: ['LoRA strength', '0.4, 0.7, 1', numbers, (body, v) => ({...body, prompt: body.prompt.replace(/<lora:([^:>]+)(:[^>]*)?>/, `<lora:$1:${v}>`)})],
};

let grid = memory.get('grid', null); // {x, y, xs, ys, body, key, jobs: {"i,j": id}}
if (!(grid?.body && grid.jobs && [grid.x, grid.y].every((axis) => !axis || AXES[axis]) && [grid.xs, grid.ys].every(Array.isArray))) {
  grid = null;
}

function read(axis, text) {
  const list = axis ? AXES[axis][2](text) : [''];
  return list.length ? list : null;
}

function bodyOf(g, i, k) {
  let body = g.body;
  if (g.x) {
    body = AXES[g.x][3](body, g.xs[i], g.xs);
  }
  return g.y ? AXES[g.y][3](body, g.ys[k], g.ys) : body;
}

// Why all pictures of a row would be the same, or null.
function vain(g) {
  const of = (key) => g.x === key ? g.xs : g.y === key ? g.ys : null;
  return g.x && g.x === g.y ? 'The same varies across and down.'
    : of('words') && !g.body.prompt.includes(of('words')[0]) ? `“${of('words')[0]}” does not stand in the prompt: the first is replaced by the others.`
      : of('lora') && !/<lora:[^>]/.test(g.body.prompt) ? 'No adapter stands in the prompt.' : null;
}

// The model varies slowest: each is loaded once.
function cellsOf(g) {
  const cells = [];
  const rowsFirst = g.x !== 'model';
  const [outer, inner] = rowsFirst ? [g.ys.length, g.xs.length] : [g.xs.length, g.ys.length];
  for (let a = 0; a < outer; a++) {
    for (let b = 0; b < inner; b++) {
      cells.push(rowsFirst ? [b, a] : [a, b]);
    }
  }
  return cells;
}

// Pictures that cost the same are asked about once.
async function priceOf(g) {
  const known = new Map();
  let total = 0;
  for (const [i, k] of cellsOf(g)) {
    const body = bodyOf(g, i, k);
    const {steps, sampler_name: sampler, model} = body;
    const key = JSON.stringify([steps, sampler, model]);
    if (!known.has(key)) {
      known.set(key, planSeconds(await ask('POST', 'plan', {...body, init_images: body.init_images && [start.get().small]})));
    }
    total += known.get(key);
  }
  const models = g.x === 'model' ? g.xs.length : g.y === 'model' ? g.ys.length : 1;
  const count = countOf(g);
  return `${count} ${count === 1 ? 'picture' : 'pictures'}, about ${seconds(total)}, ${models > 1 ? `${models} models to load` : 'no reload'}`;
}

// ---- running

const countOf = (g) => g.xs.length * g.ys.length;
const sentOf = (g) => Object.keys(g.jobs).length;

// The start picture lies on the shelf.
function keepGrid() {
  memory.set('grid', {...grid, body: grid.started ? {...grid.body, init_images: null} : grid.body});
}

async function send() {
  const g = grid;
  if (g.started && !g.body.init_images && sentOf(g) < countOf(g)) {
    const kept = await shelf.get('grid');
    g.lost = kept?.key !== g.key;
    if (g.lost) {
      return;
    }
    g.body.init_images = [kept.picture];
  }
  for (const [i, k] of cellsOf(g)) {
    const at = `${i},${k}`;
    if (!g.jobs[at]) {
      // The same key again is the same job: a reload in between makes none twice.
      const {id} = await ask('POST', 'jobs', bodyOf(g, i, k), {key: `${g.key}-${at}`});
      g.jobs[at] = id;
      keepGrid();
    }
    if (g !== grid) {
      return;
    }
  }
}

const done = new Map(); // whole jobs by id

async function look() {
  for (const id of Object.values(grid ? grid.jobs : {})) {
    if (!done.has(id)) {
      const whole = await job(id).catch((error) => error.status === 404 ? {state: 'cancelled', images: [], error: 'deleted'} : null);
      if (whole && whole.state !== 'queued' && whole.state !== 'running') {
        done.set(id, whole);
      }
    }
  }
}

// ---- saving

async function asPicture() {
  const first = [...Object.values(grid.jobs)].map((id) => done.get(id)).find((one) => one && one.images.length);
  const {width, height} = first.images[0];
  const [left, top] = [grid.y ? 160 : 0, grid.x ? 40 : 0];
  const canvas = h('canvas', {width: left + width * grid.xs.length, height: top + height * grid.ys.length});
  const pen = canvas.getContext('2d');
  Object.assign(pen, {fillStyle: '#fff'});
  pen.fillRect(0, 0, canvas.width, canvas.height);
  Object.assign(pen, {fillStyle: '#111', font: '16px sans-serif', textBaseline: 'middle'});
  grid.xs.forEach((v, i) => grid.x && pen.fillText(`${AXES[grid.x][0]} ${v}`, left + i * width + 8, top / 2, width - 16));
  grid.ys.forEach((v, k) => grid.y && pen.fillText(`${AXES[grid.y][0]} ${v}`, 8, top + k * height + height / 2, left - 16));
  for (const [at, id] of Object.entries(grid.jobs)) {
    const [i, k] = at.split(',').map(Number);
    const one = done.get(id);
    if (one && one.images.length) {
      const bitmap = await createImageBitmap(await (await fetch(pathOf(one.images[0].url))).blob());
      pen.drawImage(bitmap, left + i * width, top + k * height, width, height);
    }
  }
  canvas.toBlob((blob) => keep(blob, 'ballast-grid.png'), 'image/png');
}

function keep(blob, name) {
  const url = URL.createObjectURL(blob);
  h('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function rows() {
  const quote = (v) => /[",\n]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : String(v);
  const lines = [[grid.x || 'x', grid.y || 'y', 'seed', 'seconds', 'state', 'job']];
  for (const [i, k] of cellsOf(grid)) {
    const one = done.get(grid.jobs[`${i},${k}`]);
    lines.push([grid.xs[i], grid.ys[k], one && one.images[0] ? one.images[0].seed : '', one && one.report ? one.report.wall_seconds : '', one ? one.state : '', grid.jobs[`${i},${k}`] || '']);
  }
  return lines.map((line) => line.map(quote).join(',')).join('\n') + '\n';
}

// ---- the view

function cell(i, k) {
  const id = grid.jobs[`${i},${k}`];
  const one = done.get(id);
  const image = one && one.images[0];
  const label = [grid.x && `${AXES[grid.x][0]} ${grid.xs[i]}`, grid.y && `${AXES[grid.y][0]} ${grid.ys[k]}`].filter(Boolean).join(', ');
  return h('td', null, image ? h('button', {title: 'Look at it', onclick: () => {
    choose(id, image.index);
    location.hash = '#picture';
  }}, h('img', {src: pathOf(image.url) + '?size=320', alt: label, width: 160, height: 160}))
    : h('span', {class: 'blank'}, one ? one.error || one.state : id ? 'waits' : ''));
}

function table() {
  return h('div', {class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'The grid'}, h('table', {class: 'grid'},
    grid.x && h('thead', null, h('tr', null, grid.y && h('td'), grid.xs.map((v) => h('th', {scope: 'col'}, String(v))))),
    h('tbody', null, grid.ys.map((v, k) => h('tr', null, grid.y && h('th', {scope: 'row'}, String(v)), grid.xs.map((_, i) => cell(i, k)))))));
}

function axis(name, label, initial, reprice) {
  const text = h('input', {type: 'text', name: name + '-values', value: initial[1], 'aria-label': `Values of ${label}`, oninput: reprice, autocomplete: 'off'});
  const select = h('select', {name, onchange: () => {
    text.hidden = !select.value;
    text.value = select.value === 'model' ? lists.get().models.map((m) => m.title).join(', ') : select.value ? AXES[select.value][1] : '';
    reprice();
  }}, h('option', {value: ''}, 'nothing'), Object.entries(AXES).map(([key, [words_]]) => h('option', {value: key}, words_)));
  select.value = initial[0];
  text.hidden = !initial[0];
  return {select, text, node: h('div', {class: 'axis'}, h('label', {class: 'field'}, h('span', null, label), select), text)};
}

export function makeGrid() {
  const cost = h('output', {class: 'cost'});
  const place = h('div');
  const button = h('button', {class: 'main', disabled: true}, 'Make the grid');
  let wanted = null;
  const reprice = later(async () => {
    const [xs, ys] = [read(x.select.value, x.text.value), read(y.select.value, y.text.value)];
    wanted = xs && ys && (x.select.value || y.select.value) ? {x: x.select.value, y: y.select.value, xs, ys, key: randomKey(), jobs: {}} : null;
    button.disabled = true;
    if (!wanted || xs.some(Number.isNaN) || ys.some(Number.isNaN)) {
      cost.textContent = wanted ? 'A value is no number.' : 'Say what varies.';
      return;
    }
    if (xs.length * ys.length > MOST) {
      cost.textContent = `${xs.length * ys.length} pictures are too many for one grid; ${MOST} at most.`;
      return;
    }
    const v = values.get();
    // A seed that is drawn once holds for all of them.
    const seed = v.seed === '' ? String(crypto.getRandomValues(new Uint32Array(1))[0]) : v.seed;
    wanted.body = {...requestOf({...v, count: 1, seed}, start.get() && start.get().data), ...(v.model || !settings.get() ? {} : {model: settings.get().model})};
    const mine = wanted;
    const why = vain(mine);
    if (why) {
      cost.textContent = why;
      return;
    }
    try {
      const told = await priceOf(mine);
      if (mine === wanted) {
        cost.textContent = told;
        button.disabled = false;
      }
    } catch (error) {
      if (mine === wanted) {
        cost.textContent = error.message;
      }
    }
  }, 350);
  const x = axis('x', 'Across', ['steps', '5, 10, 20'], reprice);
  const y = axis('y', 'Down', ['', ''], reprice);
  const show = async () => {
    if (!grid) {
      fill(place, h('p', {class: 'note'}, 'A grid shows how one picture changes with its settings: the rest is as it stands in the form.'));
      return;
    }
    await look();
    const count = countOf(grid);
    const ready = Object.values(grid.jobs).filter((id) => done.has(id)).length;
    fill(place, h('div', {class: 'actions'}, h('p', {role: 'status'}, ready < count ? `${ready} of ${count} are there.` : `All ${count} are there.`),
      h('button', {class: 'quiet', disabled: !ready, onclick: () => asPicture().catch((error) => toast(error.message))}, 'Save as one picture'),
      h('button', {class: 'quiet', onclick: () => keep(new Blob([rows()], {type: 'text/csv'}), 'ballast-grid.csv')}, 'Save as rows'),
      ready < count && h('button', {class: 'quiet', onclick: stop}, 'Stop')),
    grid.lost && sentOf(grid) < count && h('p', {class: 'note'}, 'This browser has not kept the picture that it started from: what had not been sent is not made.'), table());
  };
  const stop = async () => {
    const left = Object.values(grid.jobs).filter((id) => !done.has(id));
    await Promise.all(left.map((id) => ask('DELETE', 'jobs/' + id).catch(() => null)));
    show();
  };
  const go = () => send().then(show, (error) => toast(error.message, ['Go on', go], 20000));
  button.addEventListener('click', async () => {
    grid = wanted;
    grid.started = Boolean(grid.body.init_images);
    keepGrid();
    const kept = shelf.set('grid', grid.started ? {key: grid.key, picture: grid.body.init_images[0]} : undefined);
    if (grid.started) {
      await kept;
    }
    reprice();
    show();
    go();
  });
  const showSoon = later(show, 100);
  // Not only what is told to have ended: some may have before anybody listened.
  changed.watch(() => grid && Object.values(grid.jobs).some((id) => !done.has(id)) && showSoon(), false);
  if (grid) {
    go(); // what a reload left
  }
  const view = h('div', {class: 'gridview'}, h('h2', null, 'Grid'), h('div', {class: 'axes'}, x.node, y.node), h('div', {class: 'go'}, button, cost), place);
  view.show = () => {
    reprice();
    show();
  };
  return view;
}
