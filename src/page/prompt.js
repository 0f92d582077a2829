// Writing prompts: completion from what is here and what was written before, and weights by Ctrl+Up and Ctrl+Down.
import {h, fill, memory} from './dom.js';
import {ask, lists, changed, pathOf} from './server.js';

const MOST = 8;
let pieces = new Map(); // pieces of prompts between commas, with how often they were used
let gathered = false; // those of the history, too

function count(prompt) {
  for (const piece of prompt.split(/[,\n]/)) {
    const word = piece.replace(/^[\s(]+|[\s):\d.]+$/g, '');
    if (word.length > 2 && word.length < 60) {
      pieces.set(word, (pieces.get(word) || 0) + 1);
    }
  }
}

// Once somebody writes.
async function gather() {
  if (gathered) {
    return;
  }
  gathered = true;
  pieces = new Map();
  memory.get('prompts', []).forEach(count);
  try {
    const {items} = await ask('GET', 'history?limit=200');
    const seen = new Set();
    for (const item of items) {
      const text = item.parameters.split(/\nNegative prompt:|\nSteps:/)[0];
      if (!seen.has(text)) {
        seen.add(text);
        count(text);
      }
    }
  } catch {
    // what this browser remembers is enough
  }
}

// ---- the user's list of tags: lines of `tag`, or of `tag,category,count,"alias,alias"`

let tags = null; // [[lower-case, what is put in, [lower-case aliases]]] in the file's order; null: not asked for yet

const readable = (tag) => tag.length > 3 ? tag.replaceAll('_', ' ') : tag;

async function loadTags() {
  if (tags) {
    return;
  }
  tags = [];
  const text = await fetch(pathOf('ballast/v1/tags')).then((answer) => answer.ok ? answer.text() : '', () => '');
  const lines = text.split(/\r?\n/);
  for (let i = 0; i < lines.length; i++) {
    const m = /^"?([^",#][^",]*)"?(?:,[^,]*,\d*(?:,"?([^"]*)"?)?)?$/.exec(lines[i].trim());
    if (m) {
      const tag = readable(m[1]);
      tags.push([tag.toLowerCase(), tag.replace(/[()]/g, '\\$&'), m[2] ? m[2].split(',').map((one) => readable(one).toLowerCase()) : []]);
    }
    if (i % 2000 === 1999) {
      await new Promise((next) => setTimeout(next)); // a key that is pressed meanwhile does not wait
    }
  }
}

function tagsLike(low) {
  const [begins, holds] = [[], []];
  for (const [name, text, aliases] of tags || []) {
    const alias = aliases.find((one) => one.startsWith(low));
    if (name.startsWith(low) || alias) {
      begins.push([text, alias && !name.startsWith(low) ? `${alias} → ${name}` : name, 'tag']);
    } else if (holds.length < MOST && name.includes(low)) {
      holds.push([text, name, 'tag']);
    }
    if (begins.length >= MOST) {
      break;
    }
  }
  return [...begins, ...holds];
}

// ---- words that the adapters in the prompt were trained with

const trained = new Map(); // by adapter: words

function wordsOf(prompt) {
  const found = [];
  for (const [, name] of prompt.matchAll(/<lora:([^:>]+)/g)) {
    if (!trained.has(name)) {
      trained.set(name, []);
      if ((lists.get()?.loras || []).some((one) => one.name === name || one.alias === name)) {
        ask('GET', 'adapter?name=' + encodeURIComponent(name)).then((about) => trained.set(name, about.trigger_words), () => {});
      }
    }
    found.push(...trained.get(name).map((word) => [word, word, name]));
  }
  return found;
}

// [text that is put in, what is shown, kind] of what begins like `word`, or holds it.
function suggestions(word, prompt) {
  const low = word.toLowerCase();
  const l = lists.get() || {};
  const found = [
    ...wordsOf(prompt),
    ...(l.loras || []).map((one) => [`<lora:${one.name}:1>`, one.name, 'LoRA']),
    ...(l.embeddings || []).map((one) => [one.name, one.name, 'embedding']),
    ...[...pieces].sort((a, b) => b[1] - a[1]).map(([text]) => [text, text, 'used before'])];
  const begins = found.filter(([, shown]) => shown.toLowerCase().startsWith(low) && shown.toLowerCase() !== low);
  const holds = found.filter(([, shown]) => !shown.toLowerCase().startsWith(low) && shown.toLowerCase().includes(low));
  const known = new Set([...begins, ...holds].map(([, shown]) => shown.toLowerCase()));
  return [...begins, ...tagsLike(low).filter(([, shown]) => !known.has(shown)), ...holds].slice(0, MOST);
}

// Where the piece at the cursor begins.
function begin(text, at) {
  let from = at;
  while (from > 0 && !/[,\n(<]/.test(text[from - 1])) {
    from--;
  }
  return from + /^\s*/.exec(text.slice(from, at))[0].length;
}

// As if it had been typed: Ctrl+Z takes it back.
function replace(area, from, to, text, select) {
  area.focus();
  area.setSelectionRange(from, to);
  if (!document.execCommand('insertText', false, text)) {
    area.setRangeText(text, from, to, 'end');
    area.dispatchEvent(new Event('input', {bubbles: true}));
  }
  if (select) {
    area.setSelectionRange(...select);
  }
}

// ---- weights

// The weighted piece "(words:1.2)" around the cursor, or null.
function weighted(text, from, to) {
  for (const m of text.matchAll(/\(((?:[^()\\]|\\.)*?):(\d*\.?\d+)\)/g)) {
    if (m.index <= from && to <= m.index + m[0].length) {
      return {from: m.index, to: m.index + m[0].length, words: m[1], weight: parseFloat(m[2])};
    }
  }
  return null;
}

function wordAt(text, at) {
  let [from, to] = [at, at];
  while (from > 0 && /[^\s,()<>]/.test(text[from - 1])) {
    from--;
  }
  while (to < text.length && /[^\s,()<>]/.test(text[to])) {
    to++;
  }
  return [from, to];
}

const clamp = (weight, least) => Math.round(Math.min(3, Math.max(least, weight)) * 100) / 100;

export function weigh(area, by) {
  const text = area.value;
  let [from, to] = [area.selectionStart, area.selectionEnd];
  // Of an adapter it is its strength.
  for (const m of text.matchAll(/(<lora:[^:<>]+)(?::(\d*\.?\d+))?(?=[:>])/g)) {
    if (m.index < from && to <= m.index + m[0].length + 1) {
      replace(area, m.index, m.index + m[0].length, `${m[1]}:${clamp(parseFloat(m[2] ?? 1) + by, 0)}`, [from, from]);
      return;
    }
  }
  const old = weighted(text, from, to);
  let words;
  let weight = 1;
  if (old) {
    ({from, to, words, weight} = old);
  } else {
    if (from === to) {
      [from, to] = wordAt(text, from);
    }
    words = text.slice(from, to).trim();
    to = from + text.slice(from, to).trimEnd().length;
    if (!words) {
      return;
    }
  }
  weight = clamp(weight + by, 0.1);
  const put = weight === 1 ? words : `(${words}:${weight})`;
  const start = from + (weight === 1 ? 0 : 1);
  replace(area, from, to, put, [start, start + words.length]);
}

// ---- adapters and embeddings, written into the prompt

export function picker(area) {
  const select = h('select', {onchange: () => {
    const at = area.value.length;
    replace(area, at, at, (at && !/\s$/.test(area.value) ? ' ' : '') + select.value);
    select.value = '';
  }});
  const box = h('label', {class: 'field'}, h('span', null, 'Put into the prompt'), select);
  lists.watch((l) => {
    const group = (label, list, text) => list && list.length ? h('optgroup', {label}, list.map((one) => h('option', {value: text(one.name)},
      one.vectors ? `${one.name} · ${one.family}` : one.name))) : null;
    const groups = l ? [group('Adapters (LoRA)', l.loras, (name) => `<lora:${name}:1>`), group('Embeddings', l.embeddings, (name) => name)] : [];
    box.hidden = !groups.some(Boolean);
    fill(select, h('option', {value: ''}, 'an adapter or embedding…'), groups);
    select.value = '';
  });
  return box;
}

// ---- the list below

export function prompting(area) {
  const list = h('ul', {class: 'complete', role: 'listbox', id: 'complete-' + area.name, 'aria-label': 'Completions', hidden: true});
  let found = [];
  let chosen = -1;
  area.setAttribute('aria-autocomplete', 'list');
  area.after(list);

  const close = () => {
    list.hidden = true;
    chosen = -1;
    area.removeAttribute('aria-activedescendant');
    area.removeAttribute('aria-controls');
  };
  const mark = (at) => {
    chosen = at;
    [...list.children].forEach((node, i) => node.setAttribute('aria-selected', String(i === at)));
    area.setAttribute('aria-activedescendant', `${list.id}-${at}`);
  };
  const accept = (at) => {
    const to = area.selectionStart;
    const from = begin(area.value, to);
    const text = found[at][0];
    close();
    replace(area, text.startsWith('<') && area.value[from - 1] === '<' ? from - 1 : from, to, text);
  };
  const look = () => {
    gather();
    const to = area.selectionStart;
    const word = to === area.selectionEnd ? area.value.slice(begin(area.value, to), to) : '';
    found = word.length >= 2 ? suggestions(word.replace(/^lora:/, ''), area.value) : [];
    if (!found.length) {
      close();
      return;
    }
    fill(list, found.map(([, shown, kind], i) => h('li', {role: 'option', id: `${list.id}-${i}`, 'aria-selected': 'false',
      onpointerdown: (event) => {
        event.preventDefault();
        accept(i);
      }}, h('span', {dir: 'auto'}, shown), h('small', null, kind))));
    list.hidden = false;
    chosen = -1;
    area.setAttribute('aria-controls', list.id);
  };
  area.addEventListener('input', (event) => event.inputType !== 'insertText' || event.isTrusted ? look() : null);
  area.addEventListener('focus', loadTags);
  area.addEventListener('focus', gather);
  area.addEventListener('blur', close);
  area.addEventListener('keydown', (event) => {
    const up = event.key === 'ArrowUp';
    if ((up || event.key === 'ArrowDown') && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      weigh(area, up ? 0.1 : -0.1);
      close();
    } else if (!list.hidden && (up || event.key === 'ArrowDown')) {
      event.preventDefault();
      mark((chosen + (up ? -1 : 1) + found.length) % found.length);
    } else if (!list.hidden && (event.key === 'Tab' || event.key === 'Enter') && chosen >= 0 && !event.ctrlKey) {
      event.preventDefault();
      accept(chosen);
    } else if (!list.hidden && event.key === 'Escape') {
      event.preventDefault();
      close();
    }
  });
}

changed.watch(() => gathered = false);
