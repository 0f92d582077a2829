// Memory: what lay where while a picture was made, what lies there now, and what another budget would change. Drawn
// from the report, /plan and /residency alone.
import {h, svg, fill, later, seconds, bytes} from './dom.js';
import {ask, job, ended, lists, settings} from './server.js';
import {values, start} from './inputs.js';
import {requestOf} from './form.js';
import {chosen} from './stage.js';
import {batchOf} from './telling.js';

const [W, H, LEFT, BOTTOM, TOP, RIGHT] = [960, 320, 66, 44, 14, 12];
const WORDS = 150; // that "budget 23.9 GB" or "nothing moves" takes at most
const CARDS = [4, 6, 8, 10, 12, 16, 24, 32, 48, 80].map((gb) => gb * 1e9); // memory that cards come with
const cardName = (b) => b / 1e9 + ' GB';
const NAMES = ['text_encoder', 'text_encoder_2', 'unet', 'unet.context', 'vae_decoder', 'vae_encoder', 'taesd', 'text_encoder_3'];
const kind = (module) => 'm' + (NAMES.indexOf(module.replace('transformer', 'unet')) + 1 || 9);

// ---- what is common to the drawings

function axes(most, ticks, unit) {
  const y = (value) => H - BOTTOM - (H - BOTTOM - TOP) * value / most;
  const lines = [];
  for (let i = 0; i <= ticks; i++) {
    lines.push(svg('line', {x1: LEFT, x2: W - RIGHT, y1: y(most * i / ticks), y2: y(most * i / ticks), class: 'rule'}),
      svg('text', {x: LEFT - 8, y: y(most * i / ticks) + 4, class: 'tick end'}, unit(most * i / ticks)));
  }
  return {y, lines};
}

function save(node, name) {
  const copy = node.cloneNode(true);
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  const parts = [...node.querySelectorAll('*')];
  [...copy.querySelectorAll('*')].forEach((part, i) => {
    const look = getComputedStyle(parts[i]);
    for (const key of ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'font-size', 'font-family', 'text-anchor', 'opacity', 'paint-order']) {
      part.setAttribute(key, look.getPropertyValue(key));
    }
  });
  const url = URL.createObjectURL(new Blob([copy.outerHTML], {type: 'image/svg+xml'}));
  h('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const exporting = (node, name) => h('button', {class: 'quiet', onclick: () => save(node(), name)}, 'Save as SVG');

// Anything with data-said tells it below the drawing when it is looked at.
function telling(drawing, said) {
  const say = (event) => {
    const text = event.target.closest && event.target.closest('[data-said]');
    if (text) {
      said.textContent = text.dataset.said;
    }
  };
  for (const kindOfEvent of ['pointerover', 'pointermove', 'focusin', 'keydown', 'click']) {
    drawing.addEventListener(kindOfEvent, say);
  }
  return drawing;
}

const block = (props, said) => svg('rect', {...props, tabindex: 0, role: 'img', 'aria-label': said, 'data-said': said});

// ---- one picture: phases along time

// What lies on the device in a phase when most does: one heap a module, what is streamed apart and above it. What no
// phase of this picture uses comes last.
function heaps(plan, phase) {
  const found = new Map();
  for (const run of phase.held || []) {
    const {model, module, blocks} = plan.modules[run.module];
    const key = `${run.streamed} ${run.module}`;
    const heap = found.get(key) || {model, module, streamed: run.streamed, own: module === phase.module, idle: !plan.phases.some((p) => p.module === module), of: blocks.length, blocks: []};
    for (let i = run.first; i <= run.last; i++) {
      heap.blocks.push([...blocks[i], i + 1]); // name, bytes, number
    }
    found.set(key, heap);
  }
  return [...found.values()].sort((a, b) => a.idle - b.idle || a.streamed - b.streamed);
}

const sizeOf = (blocks) => blocks.reduce((sum, [, size]) => sum + size, 0);

// A heap as one rectangle. Whoever points into it is told the block that is there; Up and Down go through them.
function heapAt(x, width, from, y, heap, phase, several) {
  const size = sizeOf(heap.blocks);
  const name = several ? `${heap.module} (${heap.model})` : heap.module;
  const what = heap.streamed ? `brought in again in each of ${phase.passes} passes` : heap.own ? 'at work, stays through the phase' : heap.idle ? 'of no use to this picture' : 'not at work';
  const all = heap.streamed
    ? `${phase.name}: ${bytes(size)} of ${name} at once; ${bytes(phase.streamed_bytes)} in ${phase.streamed_blocks} blocks are brought in again in each of ${phase.passes} passes.`
    : `${phase.name}: ${bytes(size)} of ${name} on the device in ${heap.blocks.length} of ${heap.of} blocks${heap.own ? ', at work' : heap.idle ? ', of no use to this picture' : ''}.`;
  const [top, bottom] = [y(from + size), y(from)];
  const node = block({x: x + 0.5, width: width - 1, y: top, height: Math.max(0.5, bottom - top), class: kind(heap.module) + (heap.streamed ? ' streamed' : '')}, all);
  const tell = (i) => {
    const [block_, its, number] = heap.blocks[i];
    at = i;
    node.dataset.said = `${phase.name}: ${name}, ${block_}, ${bytes(its)}: block ${number} of ${heap.of}, ${what}.`;
  };
  let at = -1;
  node.addEventListener('pointermove', (event) => {
    const box = node.getBoundingClientRect();
    let left = size * (box.bottom - event.clientY) / box.height;
    const i = heap.blocks.findIndex(([, its]) => (left -= its) <= 0);
    tell(i < 0 ? heap.blocks.length - 1 : i);
  });
  node.addEventListener('keydown', (event) => {
    const by = {ArrowUp: 1, ArrowDown: -1}[event.key];
    if (by) {
      event.preventDefault();
      tell(Math.min(heap.blocks.length - 1, Math.max(0, at + by)));
    }
  });
  let [seams, under] = ['', from];
  for (const [, its] of heap.blocks.slice(0, -1)) {
    under += its;
    seams += y(0) - y(its) > 2.5 ? `M${x + 0.5} ${y(under).toFixed(1)}h${(width - 1).toFixed(1)}` : '';
  }
  return [node, seams ? svg('path', {d: seams, class: 'seam'}) : null];
}

function timeline(batch) {
  const {plan, ledger} = batch;
  const total = plan.phases.reduce((sum, p) => sum + p.seconds, 0) || 1;
  // Short phases are wide enough to be hit.
  const widths = plan.phases.map((p) => Math.max(18, (W - LEFT - RIGHT) * p.seconds / total));
  const scale = (W - LEFT - RIGHT) / widths.reduce((a, b) => a + b, 0);
  const close = plan.budget_bytes < plan.peak_bytes * 3;
  const all = plan.phases.map((phase) => heaps(plan, phase));
  const several = new Set((plan.modules || []).map((m) => m.model)).size > 1;
  const piled = all.map((list, i) => list.reduce((sum, heap) => sum + sizeOf(heap.blocks), plan.phases[i].arena_bytes));
  const most = Math.max(...piled, plan.peak_bytes, ledger ? ledger.peak_bytes : 0, close ? plan.budget_bytes : 0) * 1.06;
  const {y, lines} = axes(most, 4, bytes);
  const parts = [];
  let x = LEFT;
  let sum = 0;
  let boundAt = null;
  plan.phases.forEach((phase, i) => {
    const width = widths[i] * scale;
    let under = 0;
    const pile = (list) => list.forEach((heap) => {
      parts.push(heapAt(x, width, under, y, heap, phase, several));
      under += sizeOf(heap.blocks);
    });
    pile(all[i].filter((heap) => !heap.idle));
    const measured = ledger && ledger.arena_bytes[i];
    parts.push(block({x: x + 0.5, width: width - 1, y: y(under + phase.arena_bytes), height: Math.max(0.5, y(under) - y(under + phase.arena_bytes)), class: 'arena'},
      `${phase.name}: ${bytes(phase.arena_bytes)} for activations${measured === undefined ? '' : `, ${bytes(measured)} measured`}; ${seconds(phase.seconds)} in ${phase.passes} ${phase.passes === 1 ? 'pass' : 'passes'}.`));
    if (measured !== undefined) {
      const at = y(under + measured);
      parts.push(svg('line', {x1: x, x2: x + width, y1: at, y2: at, class: 'measured'}));
    }
    under += phase.arena_bytes;
    pile(all[i].filter((heap) => heap.idle));
    if (phase.moved_bytes) {
      parts.push(svg('path', {d: `M${x + width / 2 - 5} ${H - BOTTOM + 7}l5 -6 5 6z`, class: 'move'}, svg('title', null, `${bytes(phase.moved_bytes)} come in`)));
    }
    if (width > 60) {
      parts.push(svg('text', {x: x + width / 2, y: H - BOTTOM + 20, class: 'tick middle'}, phase.name));
      parts.push(svg('text', {x: x + width / 2, y: H - BOTTOM + 35, class: 'tick middle'}, seconds(phase.seconds)));
    }
    if (boundAt === null && sum + phase.seconds >= plan.bound_seconds * 0.9999) {
      boundAt = x + width * (plan.bound_seconds - sum) / (phase.seconds || 1);
    }
    sum += phase.seconds;
    x += width;
  });
  const [budget, peak] = [plan.budget_bytes, ledger ? ledger.peak_bytes : plan.peak_bytes];
  const bound = boundAt === null ? W : Math.min(boundAt, W - RIGHT);
  const clear = bound > W - RIGHT - WORDS ? bound : W - RIGHT; // the budget's words end before the bound's line
  return svg('svg', {viewBox: `0 0 ${W} ${H}`, class: 'chart', role: 'group', 'aria-label': 'Memory along time'}, lines, parts,
    close && [svg('line', {x1: LEFT, x2: W - RIGHT, y1: y(budget), y2: y(budget), class: 'budget'}),
      svg('text', {x: clear - 6, y: y(budget) - 4, class: 'tick end budget'}, `budget ${bytes(budget)}`)],
    svg('line', {x1: LEFT, x2: W - RIGHT, y1: y(peak), y2: y(peak), class: 'peak'}),
    boundAt !== null && svg('line', {x1: bound, x2: bound, y1: TOP, y2: H - BOTTOM, class: 'bound'}));
}

function legend(modules, more) {
  return h('ul', {class: 'legend'}, modules.map((m) => h('li', null, h('i', {class: kind(m)}), m)), h('li', null, h('i', {class: 'arena'}), 'activations'), more);
}

function ofPicture(batch, name) {
  const {plan} = batch;
  const said = h('p', {class: 'said', role: 'status'});
  const drawing = telling(timeline(batch), said);
  const modules = [...new Set([...plan.phases, ...plan.modules || []].map((one) => one.module))];
  const peak = (batch.ledger ? `${bytes(batch.ledger.peak_bytes)} measured, ` : '') + `${bytes(plan.peak_bytes)} planned`;
  return [drawing, said, legend(modules, [h('li', null, h('i', {class: 'line-peak'}), `peak, ${peak}`), plan.moved_bytes > 0 && h('li', null, h('i', {class: 'move'}, '▲'), 'weights come in'), batch.ledger && h('li', null, h('i', {class: 'line-measured'}), 'measured'), h('li', null, h('i', {class: 'line-bound'}), 'no plan ends sooner')]),
    h('p', {class: 'note'}, `Planned ${seconds(plan.seconds)}, at least ${seconds(plan.bound_seconds)} under this budget of ${bytes(plan.budget_bytes)}` +
      (batch.ledger ? `; it took ${seconds(batch.ledger.seconds)}.` : '.') + ` ${bytes(plan.moved_bytes)} came in; no plan moves less than ${bytes(plan.bound_moved_bytes)}.`),
    exporting(() => drawing, name)];
}

// ---- now: address by address

function residency(r) {
  const said = h('p', {class: 'said', role: 'status'});
  const size = r.region_bytes || 1;
  const rects = r.models.flatMap((model) => model.modules.flatMap((m) => m.blocks.filter((b) => b.at !== null).map((b) =>
    svg('rect', {x: 1000 * b.at / size, width: Math.max(0.4, 1000 * b.bytes / size), y: 0, height: 40, class: kind(m.name), 'data-said': `${m.name}, ${b.name}: ${bytes(b.bytes)} at ${bytes(b.at)}. ${model.title}`}))));
  const drawing = telling(svg('svg', {viewBox: '0 0 1000 40', preserveAspectRatio: 'none', class: 'strip', role: 'img', 'aria-label': `${bytes(r.resident_bytes)} of weights in ${bytes(r.region_bytes)} that are held`}, rects), said);
  return r.region_bytes ? [drawing, said, h('p', {class: 'note'}, `${bytes(r.resident_bytes)} of weights in ${bytes(r.region_bytes)} that are held; the budget is ${bytes(r.budget_bytes)}.`)]
    : h('p', {class: 'note'}, 'Nothing is held: weights come with the next picture.');
}

// ---- what if

function curve(sweep, plan, at, model) {
  const rows = sweep.filter((r) => r.mode === plan.mode && r.fit_check === sweep.find((one) => one.mode === plan.mode).fit_check && r.works);
  if (!rows.length) {
    return {rows};
  }
  const [low, high] = [rows[0].budget_bytes, rows[rows.length - 1].budget_bytes];
  const most = Math.max(...rows.map((r) => r.seconds)) * 1.3; // above it words have room
  const {y, lines} = axes(most, 4, (s) => s < 60 ? seconds(s) : s < 3600 ? `${(s / 60).toFixed(1)} min` : `${(s / 3600).toFixed(1)} h`);
  const x = (b) => LEFT + (W - LEFT - RIGHT) * (b - low) / (high - low || 1);
  const path = (key) => rows.map((r, i) => `${i ? 'L' : 'M'}${x(r.budget_bytes).toFixed(1)} ${y(r[key]).toFixed(1)}`).join('');
  const told = (b) => `about ${seconds(interpolate(rows, b))}`;
  // Words stand left of their line in the right half, unless the handle's line would run through them.
  const leftOf = (b) => {
    const [room, off] = [[x(b) - LEFT, W - RIGHT - x(b)], x(at) - x(b)];
    const clear = [off > 0 || off < -WORDS, off < 0 || off > WORDS];
    return x(b) > W / 2 ? clear[0] || room[1] < WORDS : room[0] > WORDS && !clear[1];
  };
  // A line up from the axis; its words say more when they are looked at. `row`: of the words, from the top; -1: below.
  const mark = (b, words, cls, row, said) => b < low || b > high ? null : [svg('line', {x1: x(b), x2: x(b), y1: TOP, y2: H - BOTTOM, class: cls}),
    svg('text', {x: x(b) + (row < 0 ? 0 : leftOf(b) ? -5 : 5), y: row < 0 ? H - BOTTOM + 34 : TOP + 12 + 16 * row,
      class: `tick ${row < 0 ? 'middle' : leftOf(b) ? 'end' : ''} ${cls}`, tabindex: 0, role: 'img', 'aria-label': said, 'data-said': said}, words)];
  const node = svg('svg', {viewBox: `0 0 ${W} ${H}`, class: 'chart', role: 'group', 'aria-label': 'Seconds against the budget'}, lines,
    [0, 1, 2, 3, 4].map((i) => svg('text', {x: x(low + (high - low) * i / 4), y: H - BOTTOM + 17, class: i === 0 ? 'tick' : i === 4 ? 'tick end' : 'tick middle'}, bytes(low + (high - low) * i / 4))),
    CARDS.map((b) => mark(b, cardName(b), 'card', -1, `A card of ${cardName(b)}, were it as fast as this device: ${told(b)}.`)),
    svg('path', {d: path('bound_seconds'), class: 'curve bound'}), svg('path', {d: path('seconds'), class: 'curve'}),
    model && mark(model.bytes, 'the model', 'card', 2, `All weights of ${model.name} take ${bytes(model.bytes)}. With a budget of as much, activations included: ${told(model.bytes)}.`),
    mark(plan.working_set_bytes, 'nothing moves', 'card', 1, `From ${bytes(plan.working_set_bytes)} on nothing has to move between the parts of a picture: ${told(plan.working_set_bytes)}.`),
    mark(plan.budget_bytes, 'your budget', 'budget', 0, `Your budget, ${bytes(plan.budget_bytes)}: ${told(plan.budget_bytes)}.`),
    plan.budget_bytes > high && svg('text', {x: W - RIGHT - 6, y: TOP + 12, class: 'tick end budget'}, `your budget of ${bytes(plan.budget_bytes)} lies beyond →`),
    svg('line', {x1: x(at), x2: x(at), y1: TOP, y2: H - BOTTOM, class: 'handle'}), svg('circle', {cx: x(at), cy: y(interpolate(rows, at)), r: 6, class: 'handle'}));
  return {node, low, high, rows};
}

function interpolate(rows, at) {
  const i = Math.max(1, rows.findIndex((r) => r.budget_bytes >= at));
  const [a, b] = [rows[i - 1], rows[i] || rows[i - 1]];
  const part = b.budget_bytes === a.budget_bytes ? 0 : (at - a.budget_bytes) / (b.budget_bytes - a.budget_bytes);
  return a.seconds + (b.seconds - a.seconds) * Math.min(1, Math.max(0, part));
}

async function whatIf(place) {
  const v = values.get();
  const body = requestOf(v, start.get() && start.get().small);
  const curveOf = (more = '') => ask('POST', 'plan/curve?points=25' + more, body);
  let refused = '';
  // A budget that nothing works with is when the curve is needed most.
  const plan = await curveOf().catch((error) => {
    if (error.field !== 'budget' && !/budget/.test(error.message)) {
      throw error;
    }
    refused = error.message;
    return curveOf('&budget=95%25').then((p) => ({...p, budget_bytes: 0}));
  });
  let at = Math.min(plan.budget_bytes || Infinity, Math.max(...plan.sweep.map((r) => r.budget_bytes)));
  const said = h('p', {class: 'said', role: 'status'});
  const chart = h('div');
  const detail = h('div', {class: 'planned'});
  const model = lists.get()?.models.find((m) => m.title === (v.model || settings.get()?.model));
  const draw = () => curve(plan.sweep, plan, at, model && {name: model.model_name, bytes: model.bytes});
  let drawn = draw();
  if (!drawn.rows.length) {
    fill(place, h('p', {class: 'note'}, 'No budget was found that works.'));
    return;
  }
  const redraw = later(async () => {
    try {
      const one = await ask('POST', 'plan', {...body, budget: String(Math.round(at))});
      fill(detail, ofPicture({plan: one}, 'ballast-plan.svg'));
    } catch (error) {
      fill(detail, h('p', {class: 'note'}, error.message));
    }
  }, 200);
  const handle = h('input', {type: 'range', min: drawn.low, max: drawn.high, step: Math.max(1, Math.round((drawn.high - drawn.low) / 400)), value: at, 'aria-label': 'Budget',
    oninput: () => {
      at = Number(handle.value);
      handle.setAttribute('aria-valuetext', bytes(at));
      drawn = draw();
      fill(chart, drawn.node);
      said.textContent = `With ${bytes(at)} it would take about ${seconds(interpolate(drawn.rows, at))}.`;
      redraw();
    }});
  const larger = CARDS.find((b) => b > drawn.high);
  telling(chart, said);
  fill(chart, drawn.node);
  fill(place, refused && h('p', {class: 'warning', role: 'alert'}, refused), chart, h('div', {class: 'under-chart'}, handle), said,
    h('ul', {class: 'legend'}, h('li', null, h('i', {class: 'line-curve'}), 'planned'), h('li', null, h('i', {class: 'line-least'}), 'no plan is faster')),
    larger && h('p', {class: 'note'}, `Cards of ${cardName(larger)} and more lie beyond the right edge: nothing has to move on them.`), exporting(() => drawn.node, 'ballast-curve.svg'), detail);
}

// ---- the view

export function makeMemory() {
  const last = h('div', {class: 'panel'});
  const now = h('div', {class: 'panel'});
  const what = h('div', {class: 'panel'});
  const showLast = async () => {
    const at = chosen.get();
    last.classList.toggle('bare', !at);
    const whole = at && await job(at.job).catch(() => null);
    const batch = whole && batchOf(whole, at.index);
    fill(last, batch && batch.plan ? ofPicture(batch, 'ballast-memory.svg') : h('p', {class: 'note'}, 'After the first picture this shows what lay in memory while it was made.'));
  };
  const showNow = () => ask('GET', 'residency').then((r) => fill(now, residency(r)), (error) => fill(now, h('p', {class: 'note'}, error.message)));
  const showWhat = () => {
    if (!what.firstChild) {
      fill(what, h('p', {class: 'note'}, 'Asking for plans…'));
    }
    whatIf(what).catch((error) => fill(what, h('p', {class: 'note'}, error.message)));
  };
  const view = h('div', {class: 'memory'},
    h('section', null, h('h2', null, 'While this picture was made'), last),
    h('section', null, h('h2', null, 'What lies on the device now'), now),
    h('section', null, h('h2', null, 'What another budget would change'), h('p', {class: 'note'}, 'For the picture in the form. Drag the budget.'), what));
  chosen.watch(() => view.isConnected && showLast(), false);
  ended.watch(() => view.isConnected && showNow(), false);
  view.show = () => {
    showLast();
    showNow();
    showWhat();
  };
  return view;
}

