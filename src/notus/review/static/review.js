// The page's own script: keys, decisions, the next record fetched before it is asked for. Everything that can be read
// works without it. It puts no text of data into the page as HTML but what the server sent as a page of its own.

const csrf = document.querySelector('meta[name="csrf"]').content;
const said = document.getElementById('said');
const wrong = document.getElementById('wrong');
const main = document.getElementById('main');
const kind = document.body.dataset.page;
const ahead = new Map(); // address of a record -> promise of its page
const visited = []; // addresses of records that were left by going on
const MOST_AHEAD = 8;
let busy = false;
let turned = false;
let quiet = 0;

function say(line) {
  wrong.textContent = '';
  said.textContent = line;
  clearTimeout(quiet);
  quiet = setTimeout(() => { said.textContent = ''; }, 4000);
}

function complain(line) {
  said.textContent = '';
  wrong.textContent = line;
  clearTimeout(quiet);
  quiet = setTimeout(() => { wrong.textContent = ''; }, 9000);
}

async function post(path, value) {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-notus-page': csrf },
    body: JSON.stringify(value),
  });
  const told = (answer.headers.get('content-type') || '').includes('json')
    ? await answer.json() : { error: (await answer.text()).trim() };
  if (!answer.ok) throw new Error(told.error || `the server answered ${answer.status}`);
  return told;
}

// One thing at a time: a key that is held down decides once.
async function alone(work) {
  if (busy) return;
  busy = true;
  main.setAttribute('aria-busy', 'true');
  try {
    await work();
  } catch (error) {
    complain(error instanceof TypeError ? 'The server does not answer: nothing was decided.' : error.message);
  } finally {
    busy = false;
    main.removeAttribute('aria-busy');
  }
}

// ---- records

const article = () => document.getElementById('record');
const query = () => new URL(location.href).search;

async function part(address) {
  const answer = await fetch(address + (address.includes('?') ? '&' : '?') + 'part=1');
  if (!answer.ok) throw new Error(`the record cannot be shown: the server answered ${answer.status}`);
  return answer.text();
}

function fetchAhead(address) {
  if (!address || ahead.has(address)) return;
  const page = part(address);
  page.catch(() => ahead.delete(address));
  ahead.set(address, page);
  while (ahead.size > MOST_AHEAD) ahead.delete(ahead.keys().next().value);
}

async function show(address, { push = true } = {}) {
  const page = ahead.get(address) || part(address);
  ahead.delete(address);
  const html = await page;
  const parsed = new DOMParser().parseFromString(html, 'text/html').getElementById('record');
  if (!parsed) throw new Error('the record cannot be shown');
  main.replaceChildren(document.adoptNode(parsed));
  if (push && address !== location.pathname + location.search) history.pushState(null, '', address);
  settle();
  scrollTo(0, 0);
  document.getElementById('record-title').focus({ preventScroll: true });
}

// What follows every record that is shown: its title, the view that was chosen, the next one fetched.
function settle() {
  const now = article();
  document.title = `${now.dataset.title} · Notus review`;
  for (const name of ['score', 'edit']) {
    const template = now.querySelector(`template[data-dialog="${name}"]`);
    document.getElementById(name).replaceChildren(...(template ? [template.content.cloneNode(true)] : []));
  }
  view();
  fetchAhead(now.dataset.after);
  const near = now.querySelector('[data-near]');
  near.addEventListener('toggle', () => lookNear(near), { once: true });
}

// What is like a record is looked for when it is asked for: it takes longer than the record itself.
async function lookNear(near) {
  const answer = await fetch(near.dataset.near).catch(() => null);
  const rows = answer?.ok && new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('ol');
  near.querySelector('p').textContent = rows ? '' : 'They cannot be shown.';
  if (rows) near.append(document.adoptNode(rows));
}

// Of a pair: words marked, or rendered. Of all else: rendered, or as it was written.
function view() {
  const now = article();
  const pair = Boolean(now.querySelector('.marked'));
  for (const each of now.querySelectorAll('.marked')) {
    each.hidden = turned;
    each.nextElementSibling.hidden = !turned;
  }
  for (const each of now.querySelectorAll('.rendered')) {
    each.hidden = turned && !pair;
    each.nextElementSibling.hidden = !each.hidden;
  }
  now.querySelector('[data-do="view"]').setAttribute('aria-pressed', String(turned));
}

async function go(address) {
  if (!address) return say('This is the end of the list.');
  return show(address);
}

function next() {
  const now = article().dataset;
  if (now.after) visited.push(now.self);
  return go(now.after);
}

async function previous() {
  const to = visited.pop() || article().dataset.before;
  return to ? show(to) : say('This is the beginning of the list.');
}

// Decide, and show what comes next only when the server has said that the decision is on its disk.
async function decide(what, more = {}, { stay = false } = {}) {
  const now = article().dataset;
  const asked = { target: now.id, what, queue: now.queue, ...more };
  const told = await post(`/decide${query()}`, asked);
  const line = `${told.said}. ${told.decided.toLocaleString('en')} of ${told.of.toLocaleString('en')} decided.`;
  if (stay || !now.after) {
    ahead.clear();
    await show(now.self, { push: false });
    say(stay ? line : `${line} That was the last of this list.`);
  } else {
    await next();
    count(told);
    say(line);
  }
}

function count(told) {
  const place = main.querySelector('.progressed');
  if (!place) return;
  place.querySelector('progress').value = told.decided;
  place.querySelector('b').textContent = told.decided.toLocaleString('en');
}

// What the key of a digit means on a scale: 0 is 10 where there is a 10.
const meant = (digit, high) => (digit === 0 && Number(high) >= 10 ? 10 : digit);

function score(digit) {
  const now = article().dataset;
  if (!now.score) throw new Error('Here is no score to set: its feedback is not known.');
  if (!now.digit) return open('score'); // several ratings, and no overall score: which one is asked
  const more = { answer: now.score, field: now.digit, value: meant(digit, now.digitHigh) };
  return decide('set-score', more, { stay: now.of !== 'completion' });
}

async function back(path) {
  const told = await post(path + query(), {});
  ahead.clear();
  if (kind === 'record') {
    const { self, score: scored, of } = article().dataset;
    const own = told.target && (told.target !== scored || of === 'completion');
    await show(own ? `/record/${told.target}${query()}` : self).catch(() => show(self));
    say(`${told.said}.`);
  } else {
    keep(`${told.said}.`);
    location.reload();
  }
}

function swap() {
  if (main.querySelector('[data-do="swap"]')) return decide('swap');
  return complain('There is nothing to swap: only a pair has two answers.');
}

// ---- the list

const rowNow = () => document.activeElement?.closest?.('.rows > li[data-id]');

function step(by) {
  const links = [...main.querySelectorAll('.results .rowlink')];
  const place = links.indexOf(rowNow()?.querySelector('.rowlink'));
  const to = links[place < 0 ? 0 : Math.min(Math.max(place + by, 0), links.length - 1)];
  to?.focus();
}

async function decideRow(what, more = {}) {
  const row = rowNow();
  if (!row) return say('Choose a row first: j, or the arrow keys.');
  const told = await post(`/decide${query()}`, { target: row.dataset.id, what, queue: row.parentElement.dataset.queue, ...more });
  const state = row.querySelector('.state');
  const chip = document.createElement('span');
  chip.className = `chip ${{ keep: 'good', drop: 'bad' }[what] || 'calm'}`;
  chip.textContent = told.said.toLowerCase();
  state.replaceChildren(chip);
  document.getElementById('decided').textContent = told.decided.toLocaleString('en');
  main.querySelector('.progress progress').value = told.decided;
  say(`${told.said}.`);
  step(1);
}

function scoreRow(digit) {
  const row = rowNow();
  const { digit: field, digitHigh } = row?.closest('.rows').dataset || {};
  if (row && row.dataset.of !== 'completion') throw new Error('Only answers of feedback have a score to set here.');
  if (row && !field) throw new Error('There are several ratings and no overall score: Enter opens the record, o sets one.');
  return decideRow('set-score', { field, value: meant(digit, digitHigh) });
}

async function bulk(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const dialog = document.getElementById('bulk');
  const parsed = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('form');
  dialog.replaceChildren(document.adoptNode(parsed));
  open('bulk');
}

// ---- dialogs

const DRAFTS = ['note', 'edit'];
const drafts = new Map(); // address of a record -> the note that was begun on it

// The numbers that can be entered are those of the scale of what is chosen.
function scaled(select) {
  const field = select?.form.querySelector('[name="value"]');
  if (!field) return;
  const own = select.selectedOptions[0].dataset;
  field.min = own.low;
  field.max = own.high;
  field.value = own.now;
  const line = select.form.querySelector('[data-scale]');
  if (line) line.textContent = `${own.low} to ${own.high}`;
}

function open(name) {
  const dialog = document.getElementById(name);
  if (!dialog || !dialog.firstElementChild) return say('Nothing of it can be changed here.');
  // What was typed and not sent stays: of a note and an edit, until it is saved or cancelled.
  for (const each of dialog.querySelectorAll('form')) if (!DRAFTS.includes(name)) each.reset();
  if (name === 'note') dialog.querySelector('textarea').value = drafts.get(article().dataset.self) || '';
  scaled(dialog.querySelector('select[name="field"]'));
  dialog.showModal();
  dialog.querySelector('textarea, input, select')?.focus();
}

const forms = {
  who: async (data) => {
    const told = await post('/who', { who: data.get('who') });
    keep(`${told.said}.`);
    location.reload();
  },
  note: async (data) => {
    const on = article().dataset.self;
    await decide('note', { why: data.get('why') }, { stay: true });
    drafts.delete(on);
  },
  score: (data) => {
    const now = article().dataset;
    const value = data.get('value') === '' ? null : Number(data.get('value'));
    const more = { answer: now.score, field: data.get('field'), value };
    return decide('set-score', more, { stay: now.of !== 'completion' });
  },
  edit: async (data, form) => {
    const changed = [...form.querySelectorAll('textarea')].filter((each) => each.value !== each.defaultValue);
    if (!changed.length) return say('Nothing was changed.');
    for (const each of changed) await decide('edit', { field: each.name, value: each.value }, { stay: true });
    return undefined;
  },
  bulk: async (data, form) => {
    const what = data.get('what');
    const asked = { what, count: Number(form.dataset.count), why: data.get('why') || '' };
    if (what === 'set-score') {
      if (!data.get('value')) throw new Error('Say which score.');
      Object.assign(asked, { field: data.get('field'), value: Number(data.get('value')) });
    }
    const told = await post('/bulk', { filter: form.dataset.filter, asked });
    keep(`${told.said}. u takes all of it back.`);
    location.reload();
  },
};

// A line that is said after the page was loaded anew.
function keep(line) { sessionStorage.setItem('said', line); }

document.addEventListener('submit', (event) => {
  const form = event.target;
  const work = forms[form.dataset.form];
  if (!work) return;
  event.preventDefault();
  const data = new FormData(form);
  form.closest('dialog').close();
  alone(() => work(data, form));
});

document.addEventListener('change', (event) => {
  if (event.target.matches('select[name="field"]')) scaled(event.target);
});
document.addEventListener('input', (event) => {
  if (event.target.closest('#note')) drafts.set(article().dataset.self, event.target.value);
});

const doing = {
  keep: () => decide('keep'),
  drop: () => decide('drop'),
  swap,
  'cannot-tell': () => decide('cannot-tell'),
  score: () => open('score'),
  edit: () => open('edit'),
  note: () => open('note'),
  undo: () => back('/undo'),
  redo: () => back('/redo'),
  after: next,
  before: previous,
  view: () => { turned = !turned; view(); },
};

document.addEventListener('click', (event) => {
  const element = event.target.closest('[data-do], [data-open], [data-close], [data-bulk], [data-focus], .record a');
  if (!element) return;
  const own = element.dataset || {};
  if (own.do) alone(() => doing[own.do]());
  else if (own.open) open(own.open);
  else if ('close' in own) cancel(element.closest('dialog'));
  else if (own.bulk) alone(() => bulk(own.bulk));
  else if (own.focus) remember(own.focus);
});

function cancel(dialog) {
  if (dialog.id === 'note') drafts.delete(article().dataset.self);
  if (DRAFTS.includes(dialog.id)) dialog.querySelector('form').reset();
  dialog.close();
}

// A filter is a link: after it the focus and the place on the page are where they were.
function remember(key) {
  sessionStorage.setItem('focus', JSON.stringify({ key, top: scrollY }));
}

function restore() {
  const line = sessionStorage.getItem('said');
  sessionStorage.removeItem('said');
  if (line) say(line);
  const held = sessionStorage.getItem('focus');
  sessionStorage.removeItem('focus');
  if (!held || kind !== 'list') return;
  const { key, top } = JSON.parse(held);
  const found = [...document.querySelectorAll('[data-focus]')].find(
    (each) => each.dataset.focus === key && each.getClientRects().length);
  if (found) {
    scrollTo(0, top);
    found.focus({ preventScroll: true });
  }
}

// A picture is one stop of the tab key; arrows move in it.
function picture(group) {
  const links = () => [...group.querySelectorAll('a')].filter((each) => each.getClientRects().length);
  const current = (chosen) => {
    for (const each of group.querySelectorAll('a')) each.setAttribute('tabindex', each === chosen ? '0' : '-1');
  };
  const all = [...group.querySelectorAll('svg')];
  for (const svg of all) {
    const first = svg.querySelector('a.on') || svg.querySelector('a');
    for (const each of svg.querySelectorAll('a')) each.setAttribute('tabindex', each === first ? '0' : '-1');
  }
  group.addEventListener('keydown', (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const from = event.target.closest('a');
    if (!way || !from) return;
    event.preventDefault();
    event.stopPropagation();
    const middle = (each) => {
      const box = each.getBoundingClientRect();
      return [box.left + box.width / 2, box.top + box.height / 2];
    };
    const [x, y] = middle(from);
    let best = null;
    let least = Infinity;
    for (const each of links()) {
      const [a, b] = middle(each);
      const along = (a - x) * way[0] + (b - y) * way[1];
      const aside = Math.abs((a - x) * way[1]) + Math.abs((b - y) * way[0]);
      if (each !== from && along > 1 && along + 3 * aside < least) {
        least = along + 3 * aside;
        best = each;
      }
    }
    if (best) {
      current(best);
      best.focus();
    }
  });
}

// ---- keys

const recordKeys = {
  k: doing.keep, d: doing.drop, s: doing.swap, c: doing['cannot-tell'], e: doing.edit, n: doing.note, o: doing.score,
  u: doing.undo, r: doing.redo, j: next, ArrowRight: next, p: previous, ArrowLeft: previous, m: doing.view,
  Escape: () => { location.href = article().dataset.back; },
};
function swapRow() {
  if (rowNow() && rowNow().dataset.of !== 'pair') return complain('There is nothing to swap: only a pair has two answers.');
  return decideRow('swap');
}

const bulkKeys = { k: 'keep', d: 'drop', s: 'swap', c: 'cannot-tell' };
const listKeys = {
  j: () => step(1), ArrowDown: () => step(1), p: () => step(-1), ArrowUp: () => step(-1),
  k: () => decideRow('keep'), d: () => decideRow('drop'), s: swapRow, c: () => decideRow('cannot-tell'),
  u: doing.undo, r: doing.redo,
  b: () => bulk(main.querySelector('[data-bulk]')?.dataset.bulk || ''),
  '/': () => document.getElementById('text').focus(),
};

document.addEventListener('keydown', (event) => {
  const typing = event.target.closest('input:not([type="radio"]), textarea, select');
  if (typing && event.key === 'Enter' && event.ctrlKey) {
    event.preventDefault();
    typing.form?.requestSubmit();
    return;
  }
  if (typing && event.key === 'Escape' && !event.target.closest('dialog')) event.target.blur();
  const choice = document.querySelector(`#bulk[open] input[value="${bulkKeys[event.key]}"]`);
  if (choice && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    choice.checked = true;
    choice.focus();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (event.key === '?') {
    event.preventDefault();
    open('help');
    return;
  }
  const digit = /^[0-9]$/.test(event.key) ? Number(event.key) : null;
  let work = null;
  if (kind === 'record') work = digit !== null ? () => score(digit) : recordKeys[event.key];
  else if (kind === 'list') work = digit !== null ? () => scoreRow(digit) : listKeys[event.key];
  if (!work || event.repeat && !['j', 'p'].includes(event.key) && !event.key.startsWith('Arrow')) return;
  event.preventDefault();
  alone(work);
});

addEventListener('popstate', () => {
  if (kind === 'record') alone(() => show(location.pathname + location.search, { push: false }));
});
addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });

for (const group of document.querySelectorAll('[data-picture]')) picture(group);
if (kind === 'list' && innerWidth <= 700) document.querySelector('.facets')?.removeAttribute('open');
if (kind === 'record' && article()) settle();
restore();
