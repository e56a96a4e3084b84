// The arena's own script: keys and votes. The next match is asked for when the vote is on the disk, and not before.

const csrf = document.querySelector('meta[name="csrf"]').content;
const said = document.getElementById('said');
const wrong = document.getElementById('wrong');
const main = document.getElementById('main');
const KEYS = { 1: 'left', 2: 'right', 3: 'tie', 0: 'both-bad', u: 'undo' };
const SAID = { left: '1 is better', right: '2 is better', tie: 'A tie', 'both-bad': 'Both are bad', undo: 'Taken back' };
let busy = false;

async function post(path, value) {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-notus-page': csrf },
    body: JSON.stringify(value),
  });
  const told = (answer.headers.get('content-type') || '').includes('json')
    ? await answer.json() : { error: (await answer.text()).trim() };
  if (!answer.ok) throw new Error(told.error || `the server answered ${answer.status}`);
}

async function go(path, vote) {
  const match = document.getElementById('match')?.dataset.match || '';
  if (busy || (!match && vote !== 'undo')) return;
  busy = true;
  main.setAttribute('aria-busy', 'true');
  try {
    await post(path, { match, vote });
    const page = await fetch('/');
    const parsed = new DOMParser().parseFromString(await page.text(), 'text/html').getElementById('main');
    main.replaceChildren(...[...parsed.childNodes].map((each) => document.adoptNode(each)));
    wrong.textContent = '';
    said.textContent = path === '/skip' ? 'Put behind the others' : SAID[vote];
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  } catch (error) {
    said.textContent = '';
    wrong.textContent = error instanceof TypeError ? 'The server does not answer: nothing was voted.' : error.message;
  } finally {
    busy = false;
    main.removeAttribute('aria-busy');
  }
}

main.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button?.dataset.vote) go('/vote', button.dataset.vote);
  else if (button && 'skip' in button.dataset) go('/skip', 'tie');
});

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (KEYS[event.key] && main.querySelector('[data-vote]')) go('/vote', KEYS[event.key]);
  else if (event.key === 's') go('/skip', 'tie');
});
