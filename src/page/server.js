// The server, as the page knows it: questions with an answer, and what happens there.
import {signal, later} from './dom.js';

// Without a name and password that may stand in the address bar: fetch refuses those.
const base = location.origin + location.pathname.replace(/[^/]*$/, '');

export const pathOf = (url) => base + url.replace(/^\//, '');
const own = (path) => pathOf('ballast/v1/' + path);

// Why something was not done: `status` of HTTP (0: no answer), the `field` it is about, and a line.
export class Refused extends Error {
  constructor(status, field, text) {
    super(text);
    this.status = status;
    this.field = field;
  }
}

async function why(answer) {
  const body = await answer.json().catch(() => ({}));
  const first = Array.isArray(body.detail) ? body.detail[0] : null;
  const text = first ? first.msg : body.detail || answer.statusText || 'the server said no';
  const loc = first && Array.isArray(first.loc) ? first.loc : [];
  return new Refused(answer.status, loc.length > 1 ? loc[loc.length - 1] : '', text);
}

export async function ask(method, path, body, {stop, key, keepalive} = {}) {
  const headers = body === undefined ? {} : {'Content-Type': 'application/json'};
  if (key) {
    headers['Idempotency-Key'] = key;
  }
  let answer;
  try {
    answer = await fetch(own(path), {method, headers, signal: stop, keepalive, cache: 'no-store',
      body: body === undefined ? undefined : JSON.stringify(body)});
  } catch (error) {
    if (error.name === 'AbortError') {
      throw error;
    }
    throw new Refused(0, '', 'The server does not answer.');
  }
  if (!answer.ok) {
    throw await why(answer);
  }
  return answer.json();
}

// ---- what is known of it

export const link = signal('opening'); // open, lost
export const queue = signal([]); // jobs that wait or run, in order
export const progress = signal(null); // of the job in work
export const lists = signal(null); // what there is to choose from
export const settings = signal(null);
export const preview = signal(null); // {job, image}: base64 of the newest
export const ended = signal(null); // {job, state, error, images} of the job that ended last
export const changed = signal(0); // counts what happened to the history

// Tabs tell each other of what the server tells nobody: that pictures were deleted.
const others = new BroadcastChannel('ballast');

const jobs = new Map(); // whole jobs that have ended, by id: they change by being deleted alone

function forgetAll() {
  jobs.clear();
  changed.set(changed.get() + 1);
}
others.onmessage = forgetAll;

export function tellDeleted() {
  forgetAll();
  others.postMessage('changed');
}

// Of a job's pictures the one of that number, or the first that is left.
export const imageOf = (whole, index) => whole.images.find((image) => image.index === index) || whole.images[0];

export async function job(id) {
  if (!jobs.has(id)) {
    const whole = await ask('GET', 'jobs/' + id);
    if (whole.state === 'queued' || whole.state === 'running') {
      return whole;
    }
    if (jobs.size > 200) {
      jobs.delete(jobs.keys().next().value);
    }
    jobs.set(id, whole);
  }
  return jobs.get(id);
}

const look = later(async () => {
  try {
    const {items} = await ask('GET', 'jobs');
    queue.set(items);
    if (!items.some((one) => one.state === 'running')) {
      progress.set(null);
      preview.set(null);
    }
  } catch {
    // the stream tells when it is back
  }
}, 30);

// What is as it was makes nobody draw anew.
function renew(known, next) {
  if (JSON.stringify(known.get()) !== JSON.stringify(next)) {
    known.set(next);
  }
}

export async function refresh() {
  look();
  const [newLists, newSettings] = await Promise.all([ask('GET', 'lists'), ask('GET', 'settings')]);
  renew(lists, newLists);
  renew(settings, newSettings);
}

function heard({link: state, name, data}) {
  if (state === 'open') {
    link.set('open');
    refresh().catch(() => {});
    changed.set(changed.get() + 1);
  } else if (state === 'lost') {
    link.set('lost');
  } else if (name === 'queue') {
    look();
  } else if (name === 'step') {
    progress.set(data);
  } else if (name === 'preview') {
    preview.set(data);
  } else if (name === 'done') {
    ended.set(data);
    changed.set(changed.get() + 1);
    look();
  }
}

const SLEPT = 30000; // who was away for so long, in milliseconds, asks anew

// Without shared workers (some phones) a tab has a stream of its own.
export function listen() {
  const address = own('events');
  if (!window.SharedWorker) {
    const source = new EventSource(address);
    source.onopen = () => heard({link: 'open'});
    source.onerror = () => heard({link: 'lost'});
    for (const name of ['queue', 'step', 'preview', 'done', 'hint']) {
      source.addEventListener(name, (event) => heard({name, data: JSON.parse(event.data)}));
    }
    return;
  }
  const {port} = new SharedWorker(new URL('worker.js', import.meta.url), {name: 'ballast'});
  port.onmessage = ({data}) => heard(data);
  port.postMessage({address});
  const wake = () => port.postMessage({wake: true});
  let hidden = 0;
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'hidden') {
      hidden = Date.now();
    } else if (hidden && Date.now() - hidden > SLEPT) {
      wake();
    }
  });
  addEventListener('online', wake);
  addEventListener('pagehide', () => port.postMessage({bye: true}));
  addEventListener('pageshow', (event) => event.persisted && port.postMessage({address}));
}
