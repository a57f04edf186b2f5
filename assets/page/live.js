// The answer in the making. value = { on, state, status, says, thinking: {text, head, of, share, level, done}, blocks, tail, wait, error, context }.
// Beside it { view, begins, chat, sent, over }: which following of an answer this is, its chat, and what the server is
// to be asked for as it begins and ends; left: what was followed is no longer shown.
// Text goes through text nodes, so it cannot become markup, and only what is new is appended.
const at = (s) => element.querySelector(s);
const box = at('.think'), text = at('#thinking-live'), meter = at('#thinking-meter'), frozen = at('.frozen'), tail = at('.tail'), wait = at('.wait'), error = at('.page-error');
const says = document.createElement('div'); says.className = 'visually-hidden'; says.setAttribute('role', 'status'); element.append(says);
const scroller = () => document.querySelector('#scroll');
let follow = true, followTrace = true, shown = '', blocks = 0, piece = null;
const PIECE = 4000; // characters in one element: the browser lays out again only the last one
text.addEventListener('scroll', () => { followTrace = text.scrollHeight - text.scrollTop - text.clientHeight < 24; });
function watchScroll() {
  const s = scroller(); if (!s || s.dataset.watched) return; s.dataset.watched = 'yes';
  const atEnd = () => s.scrollHeight - s.scrollTop - s.clientHeight < 40;
  const set = (on) => { follow = on; if (follow) delete document.body.dataset.away; else document.body.dataset.away = 'on'; };
  s.addEventListener('scroll', () => set(atEnd()), { passive: true });
  const sizes = new ResizeObserver(() => { if (atEnd()) set(true); }); // a shorter chat has its end in view without any scrolling
  for (const child of s.children) sizes.observe(child);
}
function grow(all) {
  if (!all.startsWith(shown)) { text.textContent = ''; shown = ''; piece = null; }
  let rest = all.slice(shown.length);
  while (rest) {
    if (!piece || piece.length >= PIECE) { piece = document.createTextNode(''); const span = document.createElement('span'); span.append(piece); text.append(span); }
    const part = rest.slice(0, PIECE - piece.length) || rest; piece.appendData(part); rest = rest.slice(part.length);
  }
  shown = all;
}
let seen = null, ended = null;
const left = new Set(); // views that the page has moved on from: what their events send last arrives after that
function tell(v) {
  if (v.view && v.view !== seen) {
    seen = v.view;
    if (v.begins) playground.chat(v.chat); // a reload that comes before the turns are there finds the chat, too
    if (v.sent) trigger('sent');
    if (v.begins && !v.over) trigger('begun');
  }
  if (v.over && v.view !== ended) { ended = v.view; trigger('over'); }
}
function draw() {
  watchScroll();
  const v = props.value || {};
  if (v.left && seen) left.add(seen);
  if (v.view && left.has(v.view)) return;
  tell(v);
  at('.live').hidden = !v.on;
  playground.running(!!v.running);
  const line = document.querySelector('#status');
  if (line) { line.dataset.state = v.state || 'idle'; line.textContent = v.status || ''; }
  const t = v.thinking;
  box.hidden = !t;
  if (t) {
    grow(t.text || '');
    at('.think .label').textContent = t.label; at('.think .count').textContent = t.count; at('.think .of').textContent = t.of || '';
    meter.hidden = t.share == null; if (t.share != null) { meter.dataset.level = t.level; meter.firstElementChild.style.width = `${Math.min(100, 100 * t.share)}%`; meter.setAttribute('aria-valuenow', Math.round(100 * t.share)); }
    text.hidden = !!t.done && !box.dataset.open;
    if (followTrace && !text.hidden) text.scrollTop = text.scrollHeight;
  } else { text.textContent = ''; shown = ''; piece = null; delete box.dataset.open; }
  const list = v.blocks || [];
  if (list.length < blocks) { frozen.textContent = ''; blocks = 0; }
  for (; blocks < list.length; blocks++) { const d = document.createElement('div'); d.innerHTML = list[blocks]; frozen.append(d); }
  if (tail.textContent !== (v.tail || '')) tail.textContent = v.tail || '';
  wait.textContent = v.wait || '';
  if (error.dataset.html !== (v.error || '')) { error.innerHTML = v.error || ''; error.dataset.html = v.error || ''; }
  if (v.says && says.textContent !== v.says) says.textContent = v.says;
  const s = scroller();
  if (s && (v.jump || (follow && (v.on || v.error)))) s.scrollTop = s.scrollHeight;
}
at('.trace-head').addEventListener('click', (e) => { if (e.target.closest('button')) return; if (box.dataset.open) delete box.dataset.open; else box.dataset.open = 'yes'; draw(); });
error.addEventListener('click', (e) => {
  const b = e.target.closest('[data-op]'); if (!b) return;
  if (b.dataset.op === 'panel') playground.panel(b.dataset.panel === 'parameters' ? '' : b.dataset.panel);
  else if (b.dataset.op === 'new') playground.click('new-chat');
  else error.textContent = '';
});
watch('value', draw);
draw();
