// The picture to start from: dropped, pasted, chosen, or one of the history.
import {h, signal, memory, shelf, toast} from './dom.js';
import {values, number, choice} from './inputs.js';

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
