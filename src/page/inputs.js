// What stands in the form, and the inputs that it is written with.
import {h, fill, signal, memory} from './dom.js';

export const DEFAULTS = {prompt: '', negative: '', model: '', own: true, width: 512, height: 512, steps: 20, sampler: 'DPM++ 2M',
  schedule: 'karras', cfg: 7, seed: '', lock: false, count: 1, hires: false, scale: 1.5, hiresSteps: 0,
  upscaler: 'Latent', strength: 0.6, fit: '1'};

const kept = Object.entries(memory.get('form', {})).filter(([name, value]) => typeof value === typeof DEFAULTS[name]);
export const values = signal({...DEFAULTS, ...Object.fromEntries(kept)});

// Changes some values; inputs follow.
export function change(some) {
  values.set({...values.get(), ...some});
}

export const inputs = {}; // by name: {set(value)}

export const field = (label, control, more) => h('label', {class: 'field'}, h('span', null, label), control, more);

export function text(name, label, props) {
  const node = h('textarea', {name, dir: 'auto', spellcheck: 'false', autocapitalize: 'off', ...props,
    oninput: () => change({[name]: node.value})});
  inputs[name] = (value) => node.value !== value && (node.value = value);
  return field(label, node);
}

// A number with a slider where a range is known that people use.
export function number(name, label, {least, most, step = 1, slider}) {
  const take = (source) => () => {
    const value = parseFloat(source.value);
    if (Number.isFinite(value) && value >= least && value <= most) {
      change({[name]: value});
    }
  };
  const node = h('input', {type: 'number', name, min: least, max: most, step, inputmode: 'decimal', onchange: () => inputs[name](values.get()[name])});
  node.addEventListener('input', take(node));
  const range = slider && h('input', {type: 'range', min: slider[0], max: slider[1], step, tabindex: -1, 'aria-hidden': 'true'});
  if (range) {
    range.addEventListener('input', take(range));
  }
  inputs[name] = (value) => {
    if (parseFloat(node.value) !== value && document.activeElement !== node || node.value === '') {
      node.value = value;
    }
    if (range) {
      range.value = value;
    }
  };
  return h('label', {class: slider ? 'field ranged' : 'field'}, h('span', null, label), range, node);
}

export function choice(name, label, options) {
  const node = h('select', {name, onchange: () => change({[name]: node.value})}, options);
  inputs[name] = (value) => {
    if (value && ![...node.options].some((o) => o.value === value)) {
      node.append(h('option', {value}, value)); // not known yet, or not any more
    }
    node.value = value;
  };
  return {node, field: field(label, node)};
}

export function setOptions({node}, name, list) {
  fill(node, list.map(([value, label]) => h('option', {value}, label)));
  inputs[name](values.get()[name]);
}
