// Puts the views together: which one is seen, keys that hold everywhere, pictures that are dropped or pasted.
import {h, fill, toast} from './dom.js';
import {link, listen, lists, refresh} from './server.js';
import {change, takeFile, fromText, textOf} from './inputs.js';
import {makeForm} from './form.js';
import {makeStage, interrupt} from './stage.js';
import {prompting, picker} from './prompt.js';
import {makeHistory, makeRecent, seekBox} from './history.js';
import {makeGrid} from './grid.js';
import {makeMemory} from './memory.js';
import {makeSettings} from './telling.js';

const main = document.getElementById('main');
const views = {
  picture: ['Picture', () => h('div', {class: 'making'}, h('div', {class: 'left'}, makeForm(prompting, picker)), makeStage(), makeRecent())],
  history: ['History', makeHistory],
  grid: ['Grid', makeGrid],
  memory: ['Memory', makeMemory],
  settings: ['Settings', makeSettings],
};
const made = {};

function show() {
  const name = views[location.hash.slice(1)] ? location.hash.slice(1) : 'picture';
  made[name] ||= views[name][1]();
  fill(main, made[name]);
  made[name].show?.();
  document.body.dataset.view = name;
  for (const a of document.querySelectorAll('#nav a')) {
    if (a.hash === '#' + name) {
      a.setAttribute('aria-current', 'page');
    } else {
      a.removeAttribute('aria-current');
    }
  }
}

fill(document.getElementById('nav'), Object.entries(views).map(([name, [label]]) => h('a', {href: '#' + name}, label)));
addEventListener('hashchange', () => location.hash === '#main' ? main.focus() : show());

// ---- the connection

const told = document.getElementById('link');
link.watch((state) => {
  told.textContent = state === 'lost' ? 'The server does not answer. Trying again…' : '';
  told.classList.toggle('lost', state === 'lost');
});

// ---- pictures from outside

// A picture that says what made it fills the form; any picture can be started from.
async function take(file) {
  const text = await textOf(file).catch(() => '');
  if (!text || !lists.get()) {
    await takeFile(file);
    return;
  }
  const {values, missed} = fromText(text, lists.get());
  change(values);
  toast(missed.length ? `Filled in from ${file.name}. Not taken over: ${missed.join('; ')}.` : `Filled in from ${file.name}.`,
    ['Start from it, too', () => takeFile(file)], 12000);
}

const pictures = (transfer) => [...transfer && transfer.files || []].filter((file) => file.type.startsWith('image/'));

addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dropping');
});
addEventListener('dragleave', (event) => event.relatedTarget || document.body.classList.remove('dropping'));
addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dropping');
  const [file] = pictures(event.dataTransfer);
  if (file) {
    event.target.closest && event.target.closest('.start') ? takeFile(file) : take(file);
  }
});
addEventListener('paste', (event) => {
  const [file] = pictures(event.clipboardData);
  if (file) {
    event.preventDefault();
    takeFile(file);
  }
});

// ---- keys

let escaped = 0;

addEventListener('keydown', (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    document.getElementById('form')?.requestSubmit();
  } else if (event.key === 'Escape' && !event.defaultPrevented) {
    if (Date.now() - escaped < 2500) {
      interrupt();
      escaped = 0;
    } else {
      escaped = Date.now();
      if (document.querySelector('.work')?.isConnected) {
        toast('Esc once more stops the picture in work.', null, 2500);
      }
    }
  } else if (event.key === '/' && !typing) {
    event.preventDefault();
    location.hash = '#history';
    setTimeout(() => seekBox().focus(), 50);
  }
});

made.picture = views.picture[1](); // the others stand on its form
show();
refresh().catch(() => {}); // the lists do not wait for the stream, nor the page for its worker
let listens = false;
function begin() {
  if (!listens) {
    listens = true;
    listen();
  }
}
addEventListener('load', () => setTimeout(begin));
setTimeout(begin, 1000); // a picture may keep the load waiting
