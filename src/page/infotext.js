// What made a picture, as it stands in the picture (A1111's text) or in the server's jobs, into the form's values.
import {imageOf} from './server.js';

const cleaned = (name) => name.toLowerCase().replace(/[\s_-]/g, '');

// The values that a job was made from; `index`: of which of its pictures.
export function fromJob(job, index) {
  const r = job.request;
  const image = imageOf(job, index);
  return {prompt: r.prompt || '', negative: r.negative_prompt || '', model: r.model || '', own: !r.width || !r.height,
    ...(r.width && r.height ? {width: r.width, height: r.height} : {}), steps: r.steps, sampler: r.sampler || '',
    fit: String({crop: 1, pad: 2, stretch: 0}[r.fit] ?? 1), schedule: r.schedule || '', cfg: r.cfg, seed: image ? String(image.seed) : String(r.seed), lock: true, count: 1,
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

const TAKEN = ['Steps', 'Sampler', 'Schedule type', 'CFG scale', 'Seed', 'Size', 'Model', 'Model hash', 'Denoising strength',
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
