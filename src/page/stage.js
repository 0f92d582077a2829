// The stage: the picture first, while it is made and after; and the queue.
import {h, fill, keyed, signal, seconds, when, toast} from './dom.js';
import {ask, job, queue, progress, preview, ended, changed, link, pathOf, lists, imageOf} from './server.js';
import {values, change, start, takeFile, fromJob} from './inputs.js';
import {sent, planSeconds} from './form.js';
import {telling} from './telling.js';

export const chosen = signal(null); // {job, index}: the picture that is looked at; null: none yet
const shown = signal(null); // {job (whole), index}

let follows = true; // whoever looks at the newest gets the next one

export function choose(id, index = 0, stay = true) {
  follows = !stay;
  chosen.set({job: id, index});
}

// The picture that is made now is looked at.
export function follow() {
  follows = true;
  paint();
}

const watching = () => follows && queue.get().some((one) => one.state === 'running');

// ---- progress

function eta(p) {
  const s = sent.get();
  const promised = s && s.id === p.job && s.plan ? planSeconds(s.plan) : 0;
  const left = p.progress > 0.04 ? p.seconds * (1 - p.progress) / p.progress : Math.max(0, promised - p.seconds);
  return left > 0 ? `about ${seconds(left)} left` : '';
}

const STAGES = {prompt: 'reading the prompt', denoise: 'denoising', hires: 'denoising at the larger size', decode: 'decoding', hash: 'hashing the checkpoint',
  upscale: 'enlarging', encode: 'encoding'};

function progressText(p) {
  if (!p) {
    return 'beginning';
  }
  const {request} = queue.get().find((one) => one.id === p.job) || {};
  const most = /adaptive/i.test(request?.sampler) ? ' of at most' : ' of'; // that one ends when it is good enough
  const step = p.steps ? ` ${p.step}${most} ${p.steps}` : '';
  const many = p.images > 1 ? `picture ${p.image + 1} of ${p.images}, ` : '';
  return [many + (STAGES[p.stage] || p.stage) + step, eta(p)].filter(Boolean).join(' · ');
}

const canvas = h('canvas', {class: 'preview', width: 64, height: 64, 'aria-label': 'Preview of the picture in work', role: 'img'});
const told = h('p', {class: 'progress-text'});
const bar = h('progress', {max: 1, value: 0, 'aria-label': 'Progress of the picture in work'});
const work = h('div', {class: 'work'}, canvas, h('div', {class: 'under'}, bar, told,
  h('button', {class: 'quiet', onclick: () => interrupt()}, 'Stop')));

export async function interrupt() {
  const running = queue.get().find((one) => one.state === 'running');
  if (running) {
    await ask('DELETE', 'jobs/' + running.id).catch((error) => toast(error.message));
  }
}

async function draw(image) {
  const bytes = Uint8Array.from(atob(image), (c) => c.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
  Object.assign(canvas, {width: bitmap.width, height: bitmap.height});
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  canvas.classList.add('drawn');
}

// ---- the picture

// Fills the form with what made a picture, or with a part of it.
function reuse(whole, index, part) {
  const all = fromJob(whole, index);
  const {prompt, negative, seed, ...rest} = all;
  change({all, prompt: {prompt, negative}, settings: {...rest, lock: values.get().lock}}[part]);
  if (part !== 'prompt' && /Denoising strength/.test(imageOf(whole, index)?.parameters) && !all.hires && !start.get()) {
    toast('It began from another picture, which is not kept: choose that again.');
  }
  toForm();
}

// Where prompts are written, from whatever view.
export function toForm() {
  const focus = () => setTimeout(() => document.getElementById('prompt').focus());
  if (document.getElementById('prompt')) {
    focus();
  } else {
    addEventListener('hashchange', focus, {once: true});
    location.hash = '#picture';
  }
}

export async function useAsStart(url, name) {
  try {
    await takeFile(await (await fetch(pathOf(url))).blob(), name);
    toast('The next picture starts from this one.');
  } catch {
    toast('The picture could not be fetched.');
  }
}

function actions(whole, image, index) {
  const name = `ballast-${image.seed}.png`;
  return h('div', {class: 'actions'},
    h('button', {class: 'quiet', onclick: () => reuse(whole, index, 'all'), title: 'Fills the form with what made this picture'}, 'Reuse'),
    h('button', {class: 'quiet', onclick: () => reuse(whole, index, 'prompt')}, 'Its prompt'),
    h('button', {class: 'quiet', onclick: () => reuse(whole, index, 'settings')}, 'Its settings'),
    h('button', {class: 'quiet', onclick: () => change({seed: String(image.seed), lock: true})}, 'Its seed'),
    h('button', {class: 'quiet', onclick: () => useAsStart(image.url, name)}, 'Start from it'),
    h('a', {class: 'button quiet', href: pathOf(image.url), download: name}, 'Save'));
}

function several(whole, index) {
  return whole.images.length < 2 ? null : h('div', {class: 'several', role: 'group', 'aria-label': 'Pictures of this request'},
    whole.images.map((image) => h('button', {class: 'thumb', 'aria-pressed': String(image.index === index), 'aria-label': `Picture ${image.index + 1}`,
      onclick: () => choose(whole.id, image.index)}, h('img', {src: pathOf(image.url), alt: '', width: 48, height: 48}))));
}

function facts(whole, image) {
  const r = whole.request;
  return h('p', {class: 'facts'}, [`${image.width} × ${image.height}`, `seed ${image.seed}`, `${r.steps} steps`,
    [r.sampler, r.schedule].filter(Boolean).join(' '), `CFG ${r.cfg}`, whole.report && whole.report.model, when(image.created)].filter(Boolean).join(' · '));
}

// A picture with all that is told of it.
export function pictureOf({job: whole, index}) {
  if (whole.state === 'failed' || !whole.images.length) {
    return [h('div', {class: 'frame empty'}, h('div', {class: 'sorry', role: 'alert'},
      h('h2', null, whole.state === 'failed' ? 'This picture could not be made.' : 'This picture was stopped.'),
      h('p', null, whole.state === 'failed' ? whole.error : 'Nothing is lost: what it was made from is kept.'),
      h('button', {class: 'quiet', onclick: () => reuse(whole, 0, 'all')}, 'Back into the form')))];
  }
  const image = imageOf(whole, index);
  return [h('div', {class: 'frame'}, h('img', {src: pathOf(image.url), alt: whole.request.prompt || 'a picture without a prompt',
    width: image.width, height: image.height, dir: 'auto'})),
  h('div', {class: 'below'}, several(whole, index), h('p', {class: 'prompt', dir: 'auto'}, whole.request.prompt),
    facts(whole, image), actions(whole, image, index), telling(whole, index))];
}

function nothing() {
  const l = lists.get();
  const none = l && !l.models.length;
  const small = l && l.models.length === 1 && /ballast-mini/.test(l.models[0].title);
  return h('div', {class: 'frame empty'}, h('div', {class: 'welcome'},
    h('h2', null, none ? 'There is no model yet.' : 'Say what you want to see.'),
    none ? h('p', null, 'Put a checkpoint (NAME.safetensors, NAME.gguf, or a diffusers folder) into the folder that --models names, then reload.')
      : h('p', null, 'Write a prompt, press the button. Under the picture stands where its time went, and what would make the next one faster.'),
    small && h('p', {class: 'note'}, 'The small model that comes with Ballast is at work: it draws emoji, such as ',
      ['a panda', 'a castle', 'a tiger'].map((word, i) => [i ? ', ' : '', h('button', {class: 'link', onclick: () => change({prompt: word})}, word)]),
      '. For others start the server with --models and a folder of checkpoints.')));
}

const stage = h('section', {class: 'stage', 'aria-label': 'Picture'});
let painted = null;

function paint() {
  const what = watching() ? work : shown.get();
  if (what === painted && what !== null) {
    return;
  }
  painted = what;
  if (what === work) {
    canvas.classList.remove('drawn');
    fill(stage, h('div', {class: 'frame'}, work), waiting);
  } else {
    fill(stage, what ? pictureOf(what) : nothing(), waiting);
  }
}

async function load({job: id, index}) {
  try {
    const whole = await job(id);
    const now = chosen.get();
    const old = shown.get();
    if (now && now.job === id && !(old && old.job === whole && old.index === index)) {
      shown.set({job: whole, index});
    }
  } catch (error) {
    if (error.status === 404) {
      shown.set(null);
      painted = undefined;
      chosen.set(null);
      chooseNewest();
    }
  }
  paint();
}

function chooseNewest() {
  ask('GET', 'history?limit=1').then(({items: [newest]}) => newest && (follows || !chosen.get()) && choose(newest.job, newest.index, false), () => {});
}

// ---- the queue

function row(one) {
  const name = h('span', {class: 'what', dir: 'auto'}, one.request.prompt || '(no prompt)');
  const up = h('button', {class: 'quiet', 'aria-label': 'Sooner', title: 'Sooner', onclick: () => move(one.id, -1)}, '↑');
  const down = h('button', {class: 'quiet', 'aria-label': 'Later', title: 'Later', onclick: () => move(one.id, 1)}, '↓');
  const node = h('li', null, h('button', {class: 'link', onclick: follow}, name), h('span', {class: 'state'}), up, down,
    h('button', {class: 'quiet', 'aria-label': 'Cancel', title: 'Cancel',
      onclick: () => ask('DELETE', 'jobs/' + one.id).catch((error) => toast(error.message))}, '✕'));
  node.parts = {up, down, state: node.querySelector('.state')};
  return node;
}

async function move(id, by) {
  const waiting = queue.get().filter((one) => one.state === 'queued');
  const at = waiting.findIndex((one) => one.id === id);
  if (at >= 0 && at + by >= 0 && at + by < waiting.length) {
    const reordered = [...waiting];
    reordered.splice(at + by, 0, ...reordered.splice(at, 1));
    queue.set([...queue.get().filter((one) => one.state !== 'queued'), ...reordered]);
    await ask('PATCH', 'jobs/' + id, {position: at + by}).catch((error) => toast(error.message));
  }
}

function makeQueue() {
  const list = h('ol', {class: 'queue'});
  const count = h('h2', null, 'Queue');
  const box = h('section', {class: 'queued', 'aria-label': 'Queue', hidden: true}, count, list);
  queue.watch((items) => {
    box.hidden = !items.length;
    count.textContent = `Queue, ${items.length}`;
    keyed(list, items, (one) => one.id, row, (node, one) => {
      const runs = one.state === 'running';
      node.parts.up.hidden = node.parts.down.hidden = runs;
      node.parts.state.textContent = runs ? 'in work' : '';
      node.classList.toggle('running', runs);
    });
  });
  return box;
}

const waiting = makeQueue();

export function makeStage() {
  chosen.watch((at) => at ? load(at) : paint());
  queue.watch(paint);
  lists.watch(() => painted === null && paint(), false);
  progress.watch((p) => {
    bar.value = p ? p.progress : 0;
    told.textContent = progressText(p);
  });
  preview.watch((p) => p && draw(p.image).catch(() => {}));
  ended.watch((end) => {
    if (end && (follows || sent.get() && sent.get().id === end.job)) {
      choose(end.job, 0, false);
    }
    const s = sent.get();
    if (end && s && s.id === end.job && s.lock && end.images.length) {
      change({seed: String(end.images[0].seed)});
    }
  }, false);
  sent.watch((s) => {
    if (s) {
      follow();
      if (stage.getBoundingClientRect().top > innerHeight * 0.6) {
        stage.scrollIntoView(); // on a phone it is below the form
      }
    }
  }, false);
  link.watch((state) => {
    paint();
    if (state === 'open' && follows) {
      chooseNewest(); // what was made meanwhile is not told again
    }
  }, false);
  changed.watch(() => chosen.get() && load(chosen.get()), false);
  if (!chosen.get()) {
    chooseNewest();
  }
  return stage;
}
