// What is told under a picture: where its time went, and what would change it. And the settings that do.
import {h, fill, seconds, bytes, toast, memory} from './dom.js';
import {ask, settings, lists} from './server.js';
import {values} from './inputs.js';
import {price, planSeconds} from './form.js';

// In the order in which a picture is made; the rest comes behind.
const ORDER = ['prompt', 'encode', 'load', 'merge', 'onload', 'pipeline', 'wait', 'upscale', 'decode', 'preview', 'save', 'hash', 'other'];
const HIDDEN = ['load', 'onload']; // copies: they may run beside what computes
const COPIES = {load: ['load'], onload: ['onload', 'stream']};

// The batch that a picture came from.
export function batchOf(job, index) {
  const batches = job.report && job.report.batches || [];
  const each = job.request && job.request.batch || 1;
  return batches[Math.min(Math.floor(index / each), batches.length - 1)] || null;
}

// Bytes that a decision brought. Of what is streamed the decision names the module; how often, the phase knows.
function broughtBy(plan, d) {
  const phase = plan.phases.find((p) => p.name === d.phase && p.module === d.module);
  const others = plan.decisions.filter((o) => o !== d && o.phase === d.phase && COPIES.onload.includes(o.op));
  return d.op === 'stream' && phase ? Math.max(0, phase.moved_bytes - others.reduce((sum, o) => sum + o.bytes, 0)) : d.bytes;
}

function copies(plan, stage) {
  const modules = new Map();
  for (const d of plan && plan.decisions || []) {
    if (COPIES[stage].includes(d.op)) {
      const known = modules.get(d.module) || {bytes: 0, phases: new Set()};
      known.bytes += broughtBy(plan, d);
      known.phases.add(d.phase);
      modules.set(d.module, known);
    }
  }
  const whole = (name) => Math.max(...plan.phases.filter((p) => p.module === name).map((p) => p.resident_bytes + p.streamed_bytes), 1);
  const times = (n) => n < 1.5 ? '' : n < 2.5 ? ', came in twice' : `, came in ${Math.round(n)} times`;
  return [...modules].map(([name, m]) => `${name}, ${bytes(m.bytes)}${times(Math.max(m.bytes / whole(name), m.phases.size))}`).join('; ');
}

function phases(plan, stage) {
  return (plan && plan.phases || []).filter((p) => p.stage === stage);
}

// What was encoded before is not encoded again.
function known(cache) {
  const {hits = 0, misses = 0} = cache || {};
  return !hits ? '' : misses ? ` ${hits} of ${hits + misses} pieces of 75 tokens were known from before.`
    : ` ${hits === 1 ? 'The one piece of 75 tokens was' : `All ${hits} pieces of 75 tokens were`} known from before, so no text encoder ran.`;
}

// A sentence with this picture's numbers.
export function sentence(name, time, job, batch) {
  const plan = batch.plan;
  const own = phases(plan, name);
  const passes = own.reduce((n, p) => n + p.passes, 0);
  const modules = [...new Set(own.map((p) => p.module))].join(' and ');
  const told = {
    prompt: () => `reading the prompt${modules ? `: ${modules}` : ''}.${known(batch.text_cache)}`,
    pipeline: () => `denoising: ${passes || job.report.steps} passes of ${modules || 'the denoiser'}, ${seconds(time / (passes || job.report.steps || 1))} each.`,
    decode: () => `from latents to ${job.report.width} × ${job.report.height} pixels, by ${modules || 'the VAE'}.`,
    encode: () => `the picture to start from, into latents, by ${modules || 'the VAE'}.`,
    onload: () => `weights to the device${copies(plan, 'onload') ? `: ${copies(plan, 'onload')}` : ''}.`,
    load: () => `weights from the file into memory${copies(plan, 'load') ? `: ${copies(plan, 'load')}` : ''}.`,
    merge: () => 'adapters added to weights while these are packed.',
    wait: () => 'computing stood still for a copy of weights.',
    upscale: () => 'enlarging between the two passes.',
    preview: () => `previews on the way${modules ? `: ${passes} by ${modules}` : ''}.`,
    save: () => 'writing and keeping the file.',
    hash: () => 'the checkpoint’s hash, once.',
    other: () => 'what has no name of its own: planning, opening files, packing weights.',
  }[name];
  return `${name} ${seconds(time)}: ${told ? told() : 'a part of the work.'}`;
}

// Pieces of the bar: {name, seconds, whole, begin, lane}. Copies that ran beside other work lie in the second lane: of a
// card all of them, since what computing waited for them has a stage of its own; else what the clock did not see.
export function pieces({line, plan}) {
  const rank = (s) => ORDER.includes(s.name) ? ORDER.indexOf(s.name) : ORDER.length;
  const stages = line.stages.filter((s) => s.seconds > 0).sort((a, b) => rank(a) - rank(b));
  const card = plan && plan.host_bytes > 0 || stages.some((s) => s.name === 'wait');
  let beside = stages.reduce((sum, s) => sum + s.seconds, 0) - line.wall_seconds;
  beside = card ? Infinity : beside > line.wall_seconds / 100 ? beside : 0; // what clocks round is no overlap
  const out = [];
  const hidden = [];
  let at = 0;
  let under = 0;
  for (const s of stages) {
    let shown = s.seconds;
    if (HIDDEN.includes(s.name) && beside > 0) {
      const part = Math.min(beside, s.seconds);
      beside -= part;
      shown -= part;
      hidden.push([s.name, part]);
    }
    if (s.name === 'pipeline') {
      under = at;
    }
    if (shown > 0) {
      out.push({name: s.name, seconds: shown, whole: s.seconds, begin: at, lane: 0});
      at += shown;
    }
  }
  for (const [name, part] of hidden) {
    out.push({name, seconds: part, whole: stages.find((s) => s.name === name).seconds, begin: under, lane: 1});
    under += part;
  }
  const last = out.find((p) => p.name === 'other');
  if (hidden.length && last && at < line.wall_seconds) {
    last.seconds += line.wall_seconds - at; // the line took the copies off it
    at = line.wall_seconds;
  }
  return {parts: out, length: Math.max(at, under, line.wall_seconds)};
}

// What the device's seconds go into, by the words of the line.
const SHARES = {
  'first load': ['first_load_seconds', 'waiting for weights that came for the first time'],
  swap: ['swap_seconds', 'waiting for weights that had given way to others and came back'],
  steady: ['steady_seconds', 'the passes: computing, and waiting for what each of them brings in again'],
};

// What a part of the line says, in a sentence; '': of that there is none.
function fieldSentence(text, job, batch) {
  const {line} = batch;
  const stage = /^(\w+) [\d.]+$/.exec(text);
  const of = stage && line.stages.find((s) => s.name === stage[1]);
  const share = SHARES[text.replace(/ [\d.]+$/, '')];
  return share ? `${seconds(line[share[0]])} of the device’s time: ${share[1]}.`
    : of ? sentence(of.name, of.seconds, job, batch)
    : text.startsWith('Time:') ? `${seconds(line.wall_seconds)} by the clock, from the first word read to the last pixel kept.`
      : text.startsWith('total') ? `${seconds(line.total_seconds)}: the sum of all that follows; more than the time where work ran beside other work.`
        : text.startsWith('RAM') ? `${bytes(line.ram_bytes)} of the machine’s ${bytes(line.ram_total_bytes)} are this server’s.`
          : / memory /.test(text) ? `${bytes(line.peak_bytes)} of the ${bytes(line.memory_bytes)} there are for weights and activations were used at most.` : '';
}

// The line as it is printed; each field says its sentence, too. Those that the bar has as well are no stops for Tab.
export function lineOf(job, batch, said) {
  const parts = batch.line.text.split(/( \| |(?<! first) (?=[a-z]+ \d+\.\d\d(?: |$)))/);
  return h('p', {class: 'line'}, parts.map((text) => {
    const told = fieldSentence(text, job, batch);
    const say = () => said.textContent = told;
    const inBar = batch.line.stages.some((s) => s.seconds > 0 && text.startsWith(s.name + ' '));
    return told ? h('button', {type: 'button', tabindex: inBar ? -1 : 0, onfocus: say, onclick: say, onpointerenter: say}, text) : text;
  }));
}

// The bar; the sentence of the piece that is looked at goes into `said`.
export function bar(job, batch, said = h('p', {class: 'said', role: 'status'})) {
  const {parts, length} = pieces(batch);
  const lanes = parts.some((p) => p.lane) ? 2 : 1;
  const say = (p) => said.textContent = sentence(p.name, p.whole, job, batch) +
    (p.lane ? ' This part ran beside the computing and cost nothing.' : '');
  const box = h('div', {class: 'bar', 'data-lanes': lanes, role: 'group', 'aria-label': 'Where the time went'});
  parts.forEach((p) => {
    const share = p.seconds / length;
    const piece = h('button', {type: 'button', class: 'piece', 'data-stage': p.name, 'data-lane': p.lane,
      'aria-label': sentence(p.name, p.whole, job, batch), onfocus: () => say(p), onclick: () => say(p), onpointerenter: () => say(p),
      style: {left: 100 * p.begin / length + '%', width: 100 * share + '%'}}, share > 0.09 ? h('span', null, p.name) : null);
    box.append(piece);
  });
  return h('div', {class: 'barred'}, box, said);
}

// ---- the hint

const SETTING = {'--budget': 'budget', '--offload': 'offload', '--reserve': 'reserve', '--fit-check': 'fit_check', '--host-budget': 'host_budget'};

// Pictures of one kind can be held against each other.
const kindOf = ({request: r}) => JSON.stringify([r.model, r.steps, r.width, r.height, r.sampler, r.batch, r.hires_scale, r.hires_steps, r.strength]);

// What was applied, and what it promised: the next picture of the kind says what it brought.
const applied = () => memory.get('applied', null);

export async function apply(hint, job, batch) {
  const name = SETTING[hint.flag];
  const before = settings.get()[name];
  settings.set(await ask('POST', 'settings', {[name]: hint.value}));
  memory.set('applied', {name, before: before ?? '', hint, job: job.id, created: job.created, kind: kindOf(job), wall: batch.line.wall_seconds});
  toast(`${hint.flag} ${hint.value} holds from the next picture on.`, ['Undo', undo]);
}

export async function undo() {
  const a = applied();
  if (a) {
    settings.set(await ask('POST', 'settings', {[a.name]: a.before}));
    memory.set('applied', null);
    toast('As it was before.');
  }
}

function brought(job, batch) {
  const a = applied();
  if (!a || !(job.created > a.created) || a.kind !== kindOf(job) || (a.told || job.id) !== job.id) {
    return null;
  }
  memory.set('applied', {...a, told: job.id});
  const saved = a.wall - batch.line.wall_seconds;
  const text = saved > 0 ? `${a.hint.flag} ${a.hint.value} saved ${seconds(saved)}; ${seconds(a.hint.saves_seconds)} were promised.`
    : `${a.hint.flag} ${a.hint.value} saved nothing this time; ${seconds(a.hint.saves_seconds)} were promised.`;
  return h('p', {class: 'brought'}, text, ' ', h('button', {class: 'quiet', onclick: undo}, 'Undo'));
}

function hintOf(job, batch) {
  const hint = job.ballast && job.ballast.hint;
  if (!hint) {
    return null;
  }
  const can = SETTING[hint.flag];
  const a = applied();
  const mine = a && a.job === job.id;
  return h('p', {class: 'hint'}, h('span', null, hint.text),
    can ? mine ? h('button', {class: 'quiet', onclick: undo}, 'Undo')
      : h('button', {class: 'quiet', onclick: (event) => {
        event.target.disabled = true;
        apply(hint, job, batch).then(() => fill(event.target, 'Applied'), (error) => toast(error.message));
      }}, 'Apply from the next picture on')
      : hint.value ? h('span', {class: 'note'}, `Start the server with ${hint.flag} ${hint.value} for that.`) : null);
}

// All of it, of one picture.
export function telling(job, index) {
  const batch = batchOf(job, index);
  if (!batch) {
    return h('div', {class: 'telling'}, job.ballast && job.ballast.line ? h('p', {class: 'line'}, job.ballast.line) : null);
  }
  const said = h('p', {class: 'said', role: 'status'});
  return h('div', {class: 'telling'}, lineOf(job, batch, said), bar(job, batch, said), brought(job, batch), hintOf(job, batch),
    (job.warnings || []).map((w) => h('p', {class: 'warning'}, w)));
}

// ---- settings in people's words: how much memory, which weights stay, and what each choice would cost

const MODES = {
  auto: ['Let Ballast plan', 'Keeps what fits, and moves the rest while it computes.'],
  none: ['Everything stays', 'All weights lie on the device at once. What does not fit is refused.'],
  model: ['One network at a time', 'Reads each network when its turn comes, and lets the one before it go.'],
  sequential: ['Block by block', 'Needs the least memory, and reads every weight again in every step.'],
  balanced: ['By watermarks', 'The rule of other programs: lets networks go when memory gets short.'],
};

async function set(wish, words) {
  const before = Object.fromEntries(Object.keys(wish).map((key) => [key, settings.get()[key] === settings.get().started?.[key] ? '' : settings.get()[key] ?? '']));
  try {
    settings.set(await ask('POST', 'settings', wish));
    toast(words, ['Undo', async () => settings.set(await ask('POST', 'settings', before))]);
  } catch (error) {
    toast(error.message, null, 12000);
    settings.set(settings.get());
  }
}

// Where a value comes from, and the way back to it.
function origin(name) {
  const s = settings.get();
  const started = s.started || {};
  if ((s[name] ?? null) !== (started[name] ?? null)) {
    return h('p', {class: 'note'}, `Changed here; the server was started with ${started[name] ?? 'nothing said'}. `,
      h('button', {class: 'link', onclick: () => set({[name]: ''}, 'As the server was started.')}, 'Back to that'));
  }
  const from = s.from && s.from[name];
  return from ? h('p', {class: 'note'}, `Set by ${from} when the server was started.`) : null;
}

function cost(mode) {
  const plan = price.get();
  const row = plan && !plan.error && plan.compare.find((one) => one.mode === mode && (mode !== 'balanced' || one.fit_check === (settings.get().fit_check !== 'off')));
  if (!row) {
    return '';
  }
  return row.works ? `${seconds(row.seconds)}, ${bytes(row.peak_bytes)}` : 'does not fit';
}

function modes() {
  const now = settings.get().offload || 'auto';
  return h('fieldset', null, h('legend', null, 'Which weights stay on the device'),
    h('p', {class: 'note'}, 'Beside each: what the picture in the form would take.'),
    Object.entries(MODES).map(([mode, [name, words]]) => h('label', {class: 'mode'},
      h('input', {type: 'radio', name: 'offload', value: mode, checked: mode === now, onchange: () => set({offload: mode}, `${name}: from the next picture on.`)}),
      h('span', null, h('b', null, name), h('span', {class: 'note'}, words)), h('output', {class: 'number', 'data-mode': mode}, cost(mode)))),
    origin('offload'));
}

function budget() {
  const s = settings.get();
  const plan = price.get();
  const input = h('input', {type: 'text', name: 'budget', value: s.budget || '', placeholder: 'all that is free', autocomplete: 'off',
    'aria-describedby': 'about-budget', onchange: () => set({budget: input.value.trim()}, 'The budget holds from the next picture on.')});
  const reserve = h('input', {type: 'text', name: 'reserve', value: s.reserve || '', placeholder: 'nothing', autocomplete: 'off',
    onchange: () => set({reserve: reserve.value.trim()}, 'The reserve holds from the next picture on.')});
  return h('fieldset', null, h('legend', null, 'How much memory'),
    h('div', {class: 'pair'}, h('label', {class: 'field'}, h('span', null, 'Budget, as 6G, 800M or 80%'), input),
      h('label', {class: 'field'}, h('span', null, 'Of that, kept free, as 500M'), reserve)),
    h('p', {class: 'note', id: 'about-budget'}, plan && !plan.error
      ? `Now ${bytes(plan.budget_bytes)}. The picture in the form needs ${bytes(plan.min_budget_bytes)} at least; with ${bytes(plan.working_set_bytes)} nothing has to move between its parts.` : ''),
    origin('budget'), origin('reserve'), host());
}

// On cards weights wait in the host's memory; elsewhere there is nothing to say.
function host() {
  const s = settings.get();
  const plan = price.get();
  if (!s.host_budget && !(plan && plan.host_bytes > 0)) {
    return null;
  }
  const input = h('input', {type: 'text', name: 'host_budget', value: s.host_budget || '', placeholder: 'as much as there is room for', autocomplete: 'off',
    onchange: () => set({host_budget: input.value.trim()}, 'It holds from the next picture on.')});
  return [h('label', {class: 'field'}, h('span', null, 'Of the host’s memory, for weights that wait there'), input), origin('host_budget')];
}

const MODULES = {text_encoder: 'text encoder', text_encoder_2: 'second text encoder', text_encoder_3: 'third text encoder', unet: 'denoiser (UNet)', transformer: 'denoiser (transformer)', vae_decoder: 'VAE, decoding', vae_encoder: 'VAE, encoding', taesd: 'TAESD, the small decoder'};

// The networks of the plan, and those that every picture needs: a text that is known needs no encoder in the plan.
function modules() {
  const plan = price.get();
  const model = lists.get()?.models.find((m) => m.title === (values.get().model || settings.get().model));
  const there = ['text_encoder', ...(/SDXL|FLUX\.1|SD3/.test(model?.family) ? ['text_encoder_2'] : []), /Z-Image|FLUX|SD3/.test(model?.family) ? 'transformer' : 'unet', 'vae_decoder'];
  return plan && !plan.error
    ? Object.keys(MODULES).filter((name) => there.includes(name) || plan.phases.some((p) => p.module.replace(/\..*/, '') === name))
    : [];
}

const NOBODY = 'none'; // a list of nothing; an empty text would be the one that the server was started with

function list(name, words) {
  const said = settings.get()[name];
  const now = (said || '').split(',').filter((one) => one && one !== NOBODY);
  return h('fieldset', {class: 'inner'}, h('legend', null, words), modules().map((module) => h('label', {class: 'switch'},
    h('input', {type: 'checkbox', checked: now.includes(module), onchange: (event) => {
      const next = event.target.checked ? [...now, module] : now.filter((one) => one !== module);
      set({[name]: next.join(',') || NOBODY}, 'Holds from the next picture on.');
    }}), ' ' + (MODULES[module] || module))), origin(name),
    name === 'never' && !said && h('p', {class: 'note'}, 'Nobody has said: from 24 GB of memory on, text encoders and VAE stay.'));
}

function balanced() {
  const s = settings.get();
  const mark = (name, words) => {
    const input = h('input', {type: 'number', min: 0, max: 1, step: 0.01, value: s[name] || '', placeholder: 'by size',
      onchange: () => set({[name]: input.value}, 'Holds from the next picture on.')});
    return h('label', {class: 'field'}, h('span', null, words), input);
  };
  return h('fieldset', null, h('legend', null, 'The watermarks'),
    h('label', {class: 'switch'}, h('input', {type: 'checkbox', checked: s.fit_check !== 'off',
      onchange: (event) => set({fit_check: event.target.checked ? 'on' : 'off'}, 'Holds from the next picture on.')}), ' Let nothing go while all of it fits'),
    origin('fit_check'),
    h('div', {class: 'pair'}, mark('low', 'Low, a fraction of the memory'), mark('high', 'High')), origin('low'), origin('high'),
    list('never', 'Never let go'), list('always', 'Always let go'));
}

function model() {
  const l = lists.get();
  const s = settings.get();
  const select = h('select', {name: 'current', onchange: () => set({model: select.value}, 'The current model, from the next picture on.')},
    l.models.map((m) => h('option', {value: m.title, selected: m.title === s.model}, [m.model_name, m.family, m.bytes && bytes(m.bytes)].filter(Boolean).join(' · '))));
  const mini = l.models.length === 1 && /ballast-mini/.test(l.models[0].title);
  return h('fieldset', null, h('legend', null, 'Model'), h('label', {class: 'field'}, h('span', null, 'For requests that name none'), select),
    mini && h('div', {class: 'note'}, h('p', null, 'This is the small model that comes with Ballast. For others:'),
      h('ol', {class: 'steps'}, h('li', null, 'Put checkpoints (NAME.safetensors, NAME.gguf, or folders as diffusers writes them) into a folder.'),
        h('li', null, 'Start the server with ', h('code', null, 'ballast serve --models THAT/FOLDER'), '.'))));
}

export function makeSettings() {
  const view = h('div', {class: 'settings'});
  const show = () => {
    const [s, l, plan] = [settings.get(), lists.get(), price.get()];
    if (!s || !l) {
      return;
    }
    const at = document.activeElement && view.contains(document.activeElement) && document.activeElement.name + '/' + document.activeElement.value;
    fill(view, h('h2', null, 'Settings'), model(), budget(), modes(), s.offload === 'balanced' && balanced(),
      h('p', {class: 'note'}, `They hold from the next picture on, for everybody, until the server ends. Ballast ${l.version}.`),
      plan && !plan.error && h('p', {class: 'note'}, `Costs are those of ${values.get().count > 1 ? values.get().count + ' pictures' : 'a picture'} in ${values.get().steps} steps, about ${seconds(planSeconds(plan))} now.`));
    for (const node of view.querySelectorAll('input, select')) {
      if (node.name + '/' + node.value === at) {
        node.focus();
      }
    }
  };
  settings.watch(show);
  lists.watch(show);
  price.watch(() => view.isConnected && !/INPUT|SELECT/.test(document.activeElement.tagName) ? show() : null, false);
  view.show = show;
  return view;
}
