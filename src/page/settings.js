// Settings in people's words: how much memory, which weights stay, and what each choice would cost.
import {h, fill, seconds, bytes, toast} from './dom.js';
import {ask, settings, lists} from './server.js';
import {values} from './inputs.js';
import {price, planSeconds} from './form.js';

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

const MODULES = {text_encoder: 'text encoder', text_encoder_2: 'second text encoder', unet: 'denoiser (UNet)', transformer: 'denoiser (transformer)', vae_decoder: 'VAE, decoding', vae_encoder: 'VAE, encoding', taesd: 'TAESD, the small decoder'};

// The networks of the plan, and those that every picture needs: a text that is known needs no encoder in the plan.
function modules() {
  const plan = price.get();
  const model = lists.get()?.models.find((m) => m.title === (values.get().model || settings.get().model));
  const there = ['text_encoder', ...(/SDXL/.test(model?.family) ? ['text_encoder_2'] : []), /Z-Image/.test(model?.family) ? 'transformer' : 'unet', 'vae_decoder'];
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
