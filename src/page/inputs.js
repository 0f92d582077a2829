// What stands in the form: the inputs that it is written with, the picture to start from, and what other pictures say
// made them.
import {h, fill, signal, memory, shelf, toast} from './dom.js';
import {imageOf} from './server.js';

export const DEFAULTS = {prompt: '', negative: '', model: '', own: true, width: 512, height: 512, steps: 20, sampler: 'DPM++ 2M',
  schedule: 'karras', cfg: 7, guidance: 3.5, seed: '', lock: false, count: 1, hires: false, scale: 1.5, hiresSteps: 0,
  upscaler: 'Latent', strength: 0.6, fit: '1'};

const remembered = Object.entries(memory.get('form', {})).filter(([name, value]) => typeof value === typeof DEFAULTS[name]);
export const values = signal({...DEFAULTS, ...Object.fromEntries(remembered)});

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
// `multiple`: a function that says what it is a multiple of, now.
export function number(name, label, {least, most, step = 1, slider, multiple = () => 1}) {
  const take = (source) => () => {
    const value = parseFloat(source.value);
    if (Number.isFinite(value) && value >= least && value <= most) {
      change({[name]: value});
    }
  };
  // What was written stands, or the nearest that can be: not that part of it which could be while it was written.
  const settle = () => {
    // Of a whole number what looks like thousandths are thousands: 1,024.
    const written = parseFloat(step < 1 ? node.value : node.value.replace(/^(\d{1,3})\.(\d{3})$/, '$1$2'));
    if (Number.isFinite(written)) {
      const unit = multiple();
      const whole = step < 1 ? written : Math.round(written / unit) * unit;
      const value = Math.min(most, Math.max(least, whole));
      node.value = value;
      change({[name]: value});
      if (value !== written) {
        toast(`${label}: ${whole === written ? '' : unit > 1 ? `multiples of ${unit} ` : 'whole numbers '}from ${least} to ${most}. ${written} became ${value}.`);
      }
    } else {
      inputs[name](values.get()[name]);
    }
  };
  const node = h('input', {type: 'number', name, min: least, max: most, step, inputmode: 'decimal', onchange: settle, onbeforeinput: (event) => {
    if (event.data === ',') { // what many write where others write a point
      event.preventDefault();
      document.execCommand('insertText', false, '.');
    }
  }});
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

// ---- the picture to start from: dropped, pasted, chosen, or one of the history

export const start = signal(null); // the picture to start from: {name, file, bitmap, width, height, data, small}

// A reload keeps it: its name stands there at once, the picture comes from the shelf.
let coming = memory.get('start', '');

export function setStart(picture) {
  coming = '';
  memory.set('start', picture ? picture.name : '');
  shelf.set('start', picture ? picture.file : undefined);
  start.set(picture);
}

async function restore(name) {
  const file = await shelf.get('start');
  if (coming && file) {
    await takeFile(file, name);
  }
  if (coming) {
    setStart(null);
  }
}
export const kept = coming ? restore(coming) : null; // what a request waits for

export function startPicture() {
  const file = h('input', {type: 'file', accept: 'image/png,image/jpeg,image/webp', name: 'start', class: 'away',
    onchange: () => file.files[0] && takeFile(file.files[0])});
  const shown = h('canvas', {width: 64, height: 64, hidden: true});
  const label = h('span');
  const clear = h('button', {type: 'button', class: 'quiet', hidden: true, onclick: () => setStart(null)}, 'Remove');
  const strength = h('div', null, number('strength', 'How much is redone', {least: 0, most: 1, step: 0.01, slider: [0.05, 1]}));
  const fit = choice('fit', 'If its shape is another', [['1', 'Cut off what sticks out'], ['2', 'Keep all, repeat its edges'], ['0', 'Stretch it']]
    .map(([value, label]) => h('option', {value}, label)));
  const zone = h('label', {class: 'drop'}, shown, label, file);
  start.watch((picture) => {
    shown.hidden = clear.hidden = !picture && !coming;
    label.textContent = picture ? picture.name : coming || 'Drop, paste or choose a picture to start from';
    if (picture) {
      shown.getContext('2d').clearRect(0, 0, 64, 64);
      const scale = 64 / Math.max(picture.bitmap.width, picture.bitmap.height);
      const [w, hh] = [picture.bitmap.width * scale, picture.bitmap.height * scale];
      shown.getContext('2d').drawImage(picture.bitmap, (64 - w) / 2, (64 - hh) / 2, w, hh);
    }
  });
  const update = () => {
    fit.field.hidden = !start.get() && !coming;
    strength.hidden = !values.get().hires && fit.field.hidden;
  };
  values.watch(update);
  start.watch(update);
  return [h('div', {class: 'start'}, zone, clear), fit.field, strength];
}

const toBase64 = (blob) => new Promise((done) => {
  const reader = new FileReader();
  reader.onload = () => done(String(reader.result).replace(/^[^,]*,/, ''));
  reader.readAsDataURL(blob);
});

// A file of the user's, or a picture of the history, becomes the one to start from.
export async function takeFile(file, name = file.name || 'from the clipboard') {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    toast(`${name} is no picture that can be read: PNG, JPEG and WebP are.`);
    return;
  }
  // What a plan needs of it is its shape.
  const scale = Math.min(1, 64 / Math.max(bitmap.width, bitmap.height));
  const little = h('canvas', {width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale))});
  little.getContext('2d').drawImage(bitmap, 0, 0, little.width, little.height);
  const small = await new Promise((done) => little.toBlob(done, 'image/png'));
  setStart({name, file, bitmap, width: bitmap.width, height: bitmap.height, data: await toBase64(file), small: await toBase64(small)});
}

// ---- what made a picture, as it stands in the picture (A1111's text) or in the server's jobs

const cleaned = (name) => name.toLowerCase().replace(/[\s_-]/g, '');

// The values that a job was made from; `index`: of which of its pictures.
export function fromJob(job, index) {
  const r = job.request;
  const image = imageOf(job, index);
  return {prompt: r.prompt || '', negative: r.negative_prompt || '', model: r.model || '', own: !r.width || !r.height,
    ...(r.width && r.height ? {width: r.width, height: r.height} : {}), steps: r.steps, sampler: r.sampler || '',
    fit: String({crop: 1, pad: 2, stretch: 0}[r.fit] ?? 1), schedule: r.schedule || '', cfg: r.cfg, ...(r.guidance >= 0 ? {guidance: r.guidance} : {}), seed: image ? String(image.seed) : String(r.seed), lock: true, count: 1,
    hires: r.hires_scale > 0, ...(r.hires_scale > 0 ? {scale: r.hires_scale, hiresSteps: r.hires_steps || 0,
      upscaler: r.hires_upscaler || 'Latent', strength: r.hires_strength} : {strength: r.strength})};
}

// The pairs of the last line: "Steps: 20, Sampler: Euler, Hires prompt: \"a, b\"".
function pairsOf(line) {
  const pairs = {};
  for (const [, key, quoted, plain] of line.matchAll(/\s*([\w ./-]+?):\s*(?:"((?:\\.|[^"\\])*)"|([^,]*))(?:,|$)/g)) {
    pairs[key.trim()] = quoted === undefined ? plain.trim() : quoted.replace(/\\(.)/g, '$1');
  }
  return pairs;
}

// A sampler's name may end in a schedule's.
function samplerOf(pairs, lists, out, missed) {
  const given = pairs.Sampler || '';
  const schedule = pairs['Schedule type'] || '';
  const find = (name) => lists.samplers.find((s) => cleaned(s) === cleaned(name));
  const findSchedule = (name) => lists.schedules.find((s) => [s.name, s.label].some((n) => cleaned(n) === cleaned(name)));
  const tail = lists.schedules.find((s) => cleaned(given).endsWith(cleaned(s.name)));
  const sampler = find(given) || tail && find(cleaned(given).slice(0, -cleaned(tail.name).length));
  if (sampler) {
    out.sampler = sampler;
  } else if (given) {
    missed.push(`sampler ${given}`);
  }
  const found = schedule && cleaned(schedule) !== 'automatic' ? findSchedule(schedule) : find(given) ? null : tail;
  if (found) {
    out.schedule = found.name;
  } else {
    out.schedule = '';
    if (schedule && cleaned(schedule) !== 'automatic') {
      missed.push(`schedule ${schedule}`);
    }
  }
}

const TAKEN = ['Steps', 'Sampler', 'Schedule type', 'CFG scale', 'Distilled CFG Scale', 'Seed', 'Size', 'Model', 'Model hash', 'Denoising strength',
  'Hires upscale', 'Hires steps', 'Hires upscaler', 'Version', 'Lora hashes', 'TI hashes'];

// {values, missed} of such a text; `missed`: what the form has no place for.
export function fromText(text, lists) {
  const lines = text.trim().split('\n');
  const last = /^\s*[\w ]+:\s*[^,]+,/.test(lines[lines.length - 1]) && /Steps:/.test(lines[lines.length - 1]) ? lines.pop() : '';
  const at = lines.findIndex((line) => line.startsWith('Negative prompt:'));
  const out = {prompt: (at < 0 ? lines : lines.slice(0, at)).join('\n').trim(),
    negative: at < 0 ? '' : lines.slice(at).join('\n').replace('Negative prompt:', '').trim()};
  const pairs = pairsOf(last);
  const missed = [];
  const number = (key, name, least, most) => {
    const value = parseFloat(pairs[key]);
    if (value >= least && value <= most) {
      out[name] = value;
    } else if (pairs[key] !== undefined) {
      missed.push(`${key} ${pairs[key]}`);
    }
  };
  number('Steps', 'steps', 1, lists.limits.steps);
  number('CFG scale', 'cfg', 0, 1000);
  number('Distilled CFG Scale', 'guidance', 0, 100);
  number('Denoising strength', 'strength', 0, 1);
  if (pairs.Seed && /^\d+$/.test(pairs.Seed)) {
    Object.assign(out, {seed: pairs.Seed, lock: true});
  }
  const size = /^(\d+)x(\d+)$/.exec(pairs.Size || '');
  if (size) {
    Object.assign(out, {own: false, width: +size[1], height: +size[2]});
  }
  if (pairs.Sampler || pairs['Schedule type']) {
    samplerOf(pairs, lists, out, missed);
  }
  out.hires = Boolean(pairs['Hires upscale']);
  if (out.hires) {
    number('Hires upscale', 'scale', 1, 4);
    number('Hires steps', 'hiresSteps', 0, lists.limits.steps);
    if (lists.upscalers.includes(pairs['Hires upscaler'])) {
      out.upscaler = pairs['Hires upscaler'];
    } else if (pairs['Hires upscaler']) {
      missed.push(`upscaler ${pairs['Hires upscaler']}`);
    }
  }
  if (pairs.Model) {
    const model = lists.models.find((m) => [m.title, m.model_name].some((n) => n.replace(/\.safetensors$/, '') === pairs.Model) ||
      m.hash && m.hash === pairs['Model hash']);
    if (model) {
      out.model = model.title;
    } else {
      missed.push(`model ${pairs.Model}`);
    }
  }
  // What the prompt names has to be here; what is so anyway is not missed.
  const gone = (names, list) => names.filter((name) => !list.some((one) => [one.name, one.alias].includes(name)));
  missed.push(...gone([...out.prompt.matchAll(/<lora:([^:>]+)/g)].map((m) => m[1]), lists.loras).map((name) => `adapter ${name}`),
    ...gone((pairs['TI hashes'] || '').split(',').map((one) => one.split(':')[0].trim()).filter(Boolean), lists.embeddings).map((name) => `embedding ${name}`));
  const usual = {RNG: 'CPU', 'Clip skip': '1', ...(out.model ? {'Noise Schedule': pairs['Noise Schedule']} : {})};
  missed.push(...Object.keys(pairs).filter((key) => !TAKEN.includes(key) && pairs[key] !== usual[key]).map((key) => `${key} ${pairs[key]}`));
  return {values: out, missed};
}

// ---- the text that a picture carries

// EXIF's UserComment, of what begins with a TIFF head at `at`; '': it has none.
function userComment(data, at) {
  const little = data.getUint16(at) === 0x4949;
  const short = (where) => data.getUint16(where, little);
  const long = (where) => data.getUint32(where, little);
  // The place of a tag's entry in a list of them; 0: it is not there.
  const find = (list, tag) => {
    for (let i = 0; i < short(list); i++) {
      if (short(list + 2 + 12 * i) === tag) {
        return list + 2 + 12 * i;
      }
    }
    return 0;
  };
  const exif = find(at + long(at + 4), 0x8769);
  const comment = exif && find(at + long(exif + 8), 0x9286);
  if (!comment || long(comment + 4) <= 8) {
    return '';
  }
  const from = at + long(comment + 8);
  const bytes = data.buffer.slice(from + 8, from + long(comment + 4));
  return new TextDecoder(data.getUint8(from) === 0x55 ? 'utf-16be' : 'utf-8').decode(bytes).replace(/\0+$/, '');
}

// Where EXIF's TIFF head begins in a JPEG or WebP; 0: nowhere.
function exifOf(data) {
  const jpeg = data.getUint16(0) === 0xffd8;
  if (!jpeg && data.getUint32(8) !== 0x57454250) {
    return 0;
  }
  for (let at = jpeg ? 2 : 12; at + 18 < data.byteLength;) {
    const body = at + (jpeg ? 4 : 8);
    const headed = data.getUint32(body) === 0x45786966 ? 6 : 0; // "Exif", which WebP may leave out
    if (jpeg ? data.getUint16(at) === 0xffe1 && headed : data.getUint32(at) === 0x45584946) {
      return body + headed;
    }
    const size = jpeg ? data.getUint16(at + 2) : data.getUint32(at + 4, true);
    at = jpeg ? at + 2 + size : body + size + size % 2;
  }
  return 0;
}

// The text `parameters` of a PNG, or that of a JPEG's or WebP's EXIF; '': it has none.
export async function textOf(file) {
  const data = new DataView(await file.arrayBuffer());
  if (data.byteLength > 20 && data.getUint32(0) !== 0x89504e47) {
    const at = exifOf(data);
    return at ? userComment(data, at) : '';
  }
  const latin = (from, to) => new TextDecoder('latin1').decode(data.buffer.slice(from, to));
  if (data.byteLength < 20 || data.getUint32(0) !== 0x89504e47) {
    return '';
  }
  for (let at = 8; at + 12 <= data.byteLength;) {
    const size = data.getUint32(at);
    const kind = latin(at + 4, at + 8);
    const [begin, end] = [at + 8, at + 8 + size];
    if (end > data.byteLength || kind === 'IEND') {
      break;
    }
    const word = latin(begin, Math.min(begin + 11, end));
    if (kind === 'tEXt' && word === 'parameters\0') {
      return latin(begin + 11, end);
    }
    if (kind === 'iTXt' && word === 'parameters\0') {
      const packed = data.getUint8(begin + 11);
      let from = begin + 13;
      for (let zeros = 0; zeros < 2 && from < end; from++) {
        zeros += data.getUint8(from) === 0;
      }
      const bytes = data.buffer.slice(from, end);
      const stream = packed ? new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate')) : new Blob([bytes]).stream();
      return new Response(stream).text();
    }
    at = end + 4;
  }
  return '';
}
