// The form: what is to be drawn, what it will cost, and sending it off.
import {h, signal, later, memory, seconds, bytes, toast} from './dom.js';
import {ask, lists, settings, link, ended, Refused} from './server.js';
import {DEFAULTS, values, change, inputs, field, text, number, choice, setOptions, start, kept, startPicture} from './inputs.js';

const SIZES = [['own', 'The model’s own'], ['512x512', '512 × 512, square'], ['512x768', '512 × 768, portrait'],
  ['768x512', '768 × 512, landscape'], ['768x768', '768 × 768'], ['1024x1024', '1024 × 1024, square'],
  ['832x1216', '832 × 1216, portrait'], ['1216x832', '1216 × 832, landscape'], ['free', 'Another size']];
// The names that the server uses for what stands here.
const NAMES = {negative_prompt: 'negative', sampler_name: 'sampler', scheduler: 'schedule', cfg_scale: 'cfg', distilled_cfg_scale: 'guidance', n_iter: 'count',
  sd_model_checkpoint: 'model', hr_scale: 'scale', hr_second_pass_steps: 'hiresSteps', hr_upscaler: 'upscaler',
  denoising_strength: 'strength', init_images: 'start', resize_mode: 'fit'};

export const price = signal(null); // the plan of what stands in the form; or {error}
export const sent = signal(null); // {id, plan} of the job that was sent last

// The model that the form is of, as the server lists it; undefined until it has.
function modelOf(v) {
  const [l, s] = [lists.get(), settings.get()];
  return l && s ? l.models.find((m) => m.title === (v.model || s.model)) : undefined;
}
// Is its network told of guidance, beside CFG?
const isTold = (v) => typeof modelOf(v)?.recommended.guidance === 'number';

// A body of POST jobs.
export function requestOf(v, picture) {
  const body = {prompt: v.prompt, negative_prompt: v.negative, steps: v.steps, sampler_name: v.sampler,
    scheduler: v.schedule, cfg_scale: v.cfg, seed: v.seed === '' ? -1 : v.seed, n_iter: v.count};
  if (v.model) {
    body.model = v.model;
  }
  if (isTold(v)) {
    body.distilled_cfg_scale = v.guidance;
  }
  if (!v.own) {
    Object.assign(body, {width: v.width, height: v.height});
  }
  if (v.hires) {
    Object.assign(body, {enable_hr: true, hr_scale: v.scale, hr_second_pass_steps: v.hiresSteps, hr_upscaler: v.upscaler});
  }
  if (picture) {
    Object.assign(body, {init_images: [picture], resize_mode: Number(v.fit)});
  }
  if (v.hires || picture) {
    body.denoising_strength = v.strength;
  }
  return body;
}

// ---- the price

let asked = null;

async function askPrice() {
  if (asked) {
    asked.abort();
  }
  asked = new AbortController();
  const v = values.get();
  try {
    const plan = await ask('POST', 'plan', requestOf(v, start.get() && start.get().small), {stop: asked.signal});
    price.set({...plan, count: v.count});
  } catch (error) {
    if (error.name !== 'AbortError') {
      price.set({error});
    }
  }
}
const askPriceSoon = later(askPrice, 350);

export const planSeconds = (plan) => plan.request_seconds ?? plan.first_seconds ?? plan.seconds;

function priceText(plan) {
  if (!plan) {
    return '';
  }
  if (plan.error) {
    return plan.error.status ? plan.error.message : '';
  }
  const each = plan.count > 1 ? `${plan.count} pictures, ` : '';
  return `${each}about ${seconds(planSeconds(plan))}, ${bytes(plan.peak_bytes)} of ${bytes(plan.budget_bytes)} memory${start.get() ? ', from the start picture' : ''}`;
}

// ---- sending

// Not crypto.randomUUID: that is there for pages with TLS alone.
export const randomKey = () => [...crypto.getRandomValues(new Uint8Array(12))].map((x) => x.toString(16).padStart(2, '0')).join('');

const AGAIN = [0, 429, 503, 507]; // what the same request may get through later

export async function send() {
  await kept;
  const v = values.get();
  const picture = start.get();
  const body = requestOf(v, picture && picture.data);
  try {
    const {id, warnings} = await ask('POST', 'jobs', body, {key: randomKey()});
    mark();
    remember(v.prompt);
    sent.set({id, plan: price.get() && !price.get().error ? price.get() : null, at: Date.now(), lock: v.lock && v.seed === ''});
    if (!v.lock && v.seed !== '') {
      change({seed: ''});
    }
    for (const warning of warnings) {
      toast(warning);
    }
  } catch (error) {
    mark(error);
    toast(error.status ? error.message : 'The server does not answer; nothing was sent.', AGAIN.includes(error.status) ? ['Try again', send] : null, 12000);
  }
}

// Prompts of this browser, newest first, for completion.
export function remember(prompt) {
  const old = memory.get('prompts', []).filter((one) => one !== prompt);
  if (prompt.trim()) {
    memory.set('prompts', [prompt, ...old].slice(0, 100));
  }
}

// ---- inputs

// The field that was refused, and no other.
function mark(error) {
  const name = error instanceof Refused ? NAMES[error.field] || error.field : '';
  for (const node of document.querySelectorAll('#form [aria-invalid]')) {
    node.removeAttribute('aria-invalid');
  }
  const node = name && document.querySelector(`#form [name="${CSS.escape(name)}"]`);
  if (node) {
    node.setAttribute('aria-invalid', 'true');
    node.focus();
  }
}

// Beside each size what it would cost, once somebody looks there.
async function priceSizes(select, holds) {
  for (const option of select.options) {
    const [width, height] = option.value.split('x').map(Number);
    const v = {...values.get(), ...height ? {own: false, width, height} : {own: true}};
    if (option.value !== 'free') {
      const plan = await ask('POST', 'plan', requestOf(v, start.get() && start.get().small)).catch((error) => error.status ? null : Promise.reject(error));
      const [, words] = SIZES.find(([value]) => value === option.value);
      if (!holds()) {
        return;
      }
      option.textContent = words + (plan ? ` · ${seconds(planSeconds(plan))}, ${bytes(plan.peak_bytes)}` : ' · cannot be made');
    }
  }
}

function sizes() {
  const preset = h('select', {name: 'size', onchange: () => {
    const [width, height] = preset.value.split('x').map(Number);
    change(preset.value === 'own' ? {own: true} : height ? {own: false, width, height} : {own: false});
    free.hidden = preset.value !== 'free';
  }, onpointerenter: () => look(), onfocus: () => look()}, SIZES.map(([value, label]) => h('option', {value}, label)));
  let looked = '';
  const keyNow = () => {
    const {prompt, negative, seed, own, width, height, ...rest} = values.get();
    return JSON.stringify(rest);
  };
  const look = () => {
    if (keyNow() !== looked) {
      const key = looked = keyNow();
      priceSizes(preset, () => key === looked).catch(forget);
    }
  };
  // Of other settings, or of other weights on the device: no price is better than an old one.
  const forget = () => {
    looked = '';
    [...preset.options].forEach((option, i) => option.textContent = SIZES[i][1]);
  };
  ended.watch(() => looked && forget(), false);
  const multiple = () => modelOf(values.get())?.multiple ?? 8;
  const side = (name, label) => number(name, label, {least: 64, most: 8192, step: 8, multiple});
  const free = h('div', {class: 'pair', hidden: true}, side('width', 'Width'),
    h('button', {type: 'button', class: 'quiet', title: 'Swap width and height', 'aria-label': 'Swap width and height',
      onclick: () => change({width: values.get().height, height: values.get().width})}, '⇄'),
    side('height', 'Height'));
  const stepNow = () => free.querySelectorAll('input').forEach((input) => input.step = multiple());
  lists.watch(stepNow);
  settings.watch(stepNow);
  values.watch((v) => {
    stepNow();
    const key = v.own ? 'own' : `${v.width}x${v.height}`;
    const known = SIZES.some(([value]) => value === key);
    if (!(preset.value === 'free' && !v.own)) {
      preset.value = known ? key : 'free';
    }
    free.hidden = preset.value !== 'free';
    if (looked && looked !== keyNow()) {
      forget();
    }
  });
  return [field('Size', preset), free];
}

function seed() {
  // What is no seed goes to the server as it is, which says so; -1 is what others call random.
  const node = h('input', {type: 'text', name: 'seed', inputmode: 'numeric', placeholder: 'random', autocomplete: 'off',
    oninput: () => change({seed: node.value.trim() === '-1' ? '' : node.value.trim()})});
  const lock = h('button', {type: 'button', class: 'quiet', 'aria-pressed': 'false', title: 'Keep the seed from one picture to the next',
    onclick: () => change({lock: !values.get().lock})}, 'Lock');
  inputs.seed = (value) => document.activeElement !== node && (node.value = value);
  inputs.lock = (value) => lock.setAttribute('aria-pressed', String(value));
  return h('div', {class: 'pair seed'}, field('Seed', node), lock,
    h('button', {type: 'button', class: 'quiet', title: 'Draw a new seed for each picture', onclick: () => {
      node.value = '';
      change({seed: '', lock: false});
    }}, 'Random'));
}

function hires() {
  const upscaler = choice('upscaler', 'Enlarged by', []);
  const node = h('input', {type: 'checkbox', name: 'hires', onchange: () => change({hires: node.checked})});
  const more = h('div', {class: 'group'}, number('scale', 'Times as large', {least: 1, most: 4, step: 0.05, slider: [1, 3]}),
    number('hiresSteps', 'Steps (0: as above)', {least: 0, most: 500}), upscaler.field);
  inputs.hires = (value) => {
    node.checked = value;
    more.hidden = !value;
  };
  lists.watch((l) => l && setOptions(upscaler, 'upscaler', l.upscalers.map((name) => [name, name])));
  return [h('label', {class: 'switch'}, node, ' Second pass at a larger size'), more];
}

// What suits the model, by its file or its family, unless somebody has chosen something else.
function advise() {
  const v = values.get();
  const model = modelOf(v);
  if (model) {
    const last = memory.get('advice', {});
    const {steps, cfg, guidance, sampler} = model.recommended; // a sampler of its own comes with its own noise levels
    const next = {steps: steps ?? DEFAULTS.steps, cfg: cfg ?? DEFAULTS.cfg, guidance: guidance ?? DEFAULTS.guidance, sampler: sampler ?? DEFAULTS.sampler,
      schedule: sampler ? '' : DEFAULTS.schedule};
    const some = Object.entries(next).filter(([key, value]) => value !== v[key] && v[key] === (last[key] ?? DEFAULTS[key]));
    if (JSON.stringify(next) !== JSON.stringify(last)) {
      memory.set('advice', next);
    }
    if (some.length) {
      change(Object.fromEntries(some));
    }
  }
}

function models() {
  const model = choice('model', 'Model', [h('option', {value: ''}, 'The current one')]);
  model.node.addEventListener('change', advise);
  const show = () => {
    const [l, s] = [lists.get(), settings.get()];
    advise();
    if (l) {
      const now = l.models.find((m) => s && m.title === s.model);
      const label = (m) => [m.name || m.model_name, m.family, m.bytes && bytes(m.bytes)].filter(Boolean).join(' · ');
      setOptions(model, 'model', [['', now ? label(now) : 'The current one'],
        ...l.models.filter((m) => m !== now).map((m) => [m.title, label(m)])]);
    }
  };
  lists.watch(show);
  settings.watch(show);
  return model.field;
}

// For those models alone whose network is told of it.
function guidance() {
  const node = number('guidance', 'Distilled guidance', {least: 0, most: 100, step: 0.1, slider: [1, 10]});
  const show = () => node.hidden = !isTold(values.get());
  lists.watch(show);
  settings.watch(show);
  values.watch(show);
  return node;
}

// The whole form. `prompting(textarea)` is told of the two prompts; `picker(textarea)` is a part of it.
export function makeForm(prompting, picker) {
  const sampler = choice('sampler', 'Sampler', []);
  const schedule = choice('schedule', 'Schedule', []);
  const cost = h('output', {class: 'cost', 'aria-live': 'off'});
  const button = h('button', {class: 'main', title: 'Ctrl+Enter'}, 'Make the picture');
  const prompt = text('prompt', 'Prompt', {id: 'prompt', rows: 4, placeholder: 'a panda in the snow, oil on canvas'});
  const negative = text('negative', 'Not in it', {rows: 2, placeholder: 'blurry, text'});
  const rest = h('details', {class: 'rest', open: matchMedia('(min-width: 56rem)').matches},
    h('summary', null, 'Settings of the picture'),
    models(), sizes(),
    number('steps', 'Steps', {least: 1, most: 500, slider: [1, 60]}),
    h('div', {class: 'pair'}, sampler.field, schedule.field),
    number('cfg', 'Guidance (CFG)', {least: 0, most: 30, step: 0.1, slider: [1, 15]}),
    guidance(), seed(),
    number('count', 'How many', {least: 1, most: 64, slider: [1, 12]}),
    startPicture(), hires());
  const form = h('form', {id: 'form', novalidate: true, onsubmit: (event) => {
    event.preventDefault();
    if (document.activeElement.type === 'number') {
      document.activeElement.dispatchEvent(new Event('change')); // by Ctrl+Enter it is not left
    }
    send();
  }}, prompt, picker(prompt.querySelector('textarea')), negative, h('div', {class: 'go'}, button, cost), rest);
  lists.watch((l) => {
    if (l) {
      setOptions(sampler, 'sampler', l.samplers.map((name) => [name, name]));
      setOptions(schedule, 'schedule', [['', 'The sampler’s own'], ...l.schedules.map((s) => [s.name, s.label])]);
    }
  });
  const keepNow = () => memory.set('form', values.get());
  const keep = later(keepNow, 250);
  addEventListener('pagehide', keepNow);
  values.watch((v) => {
    for (const [name, set] of Object.entries(inputs)) {
      set(v[name]);
    }
    keep();
    askPriceSoon();
  });
  start.watch(askPriceSoon, false);
  settings.watch(askPriceSoon, false);
  ended.watch(askPriceSoon, false); // what lies on the device now need not come in
  price.watch((plan) => {
    cost.textContent = priceText(plan);
    cost.classList.toggle('bad', Boolean(plan && plan.error && plan.error.status));
  });
  link.watch((state) => button.classList.toggle('waits', state === 'lost'));
  prompting(prompt.querySelector('textarea'));
  prompting(negative.querySelector('textarea'));
  return form;
}

