// The answer in the making. value = { on, state, status, says, steps: [{id, html}], thinking: {text, head, of, share, level, done}, answer, plain, ended, wait, error, context }.
// Beside it { view, begins, chat, sent, over }: which following of an answer this is, its chat, and what the server is
// to be asked for as it begins and ends, unsaved: or as it is stored after all; left: what was followed is no longer shown.
const at = (s) => element.querySelector(s);
const box = at('.think'), text = at('#thinking-live'), drawn = at('.drawn'), tail = at('.tail'), wait = at('.wait'), error = at('.page-error');
const says = document.createElement('div'); says.className = 'visually-hidden'; says.setAttribute('role', 'status'); element.append(says);
const { set } = playground;
const scroller = () => document.querySelector('#scroll');
const growing = new playground.Growing({ trace: text, drawn, tail });
let follow = true, followAgain = () => {};
function watchScroll() {
  const s = scroller(); if (!s || s.dataset.watched) return; s.dataset.watched = 'yes';
  const atEnd = () => s.scrollHeight - s.scrollTop - s.clientHeight < 40;
  const set = (on) => { follow = on; playground.mark(document.body, 'away', on ? '' : 'on'); };
  followAgain = () => { set(true); top = 0; s.scrollTop = s.scrollHeight; };
  let top = s.scrollTop, height = s.scrollHeight;
  s.addEventListener('scroll', () => { // only who scrolls up leaves the end: what is drawn late moves it, too
    if (atEnd()) set(true); else if (s.scrollTop < top - 2 && s.scrollHeight >= height) set(false);
    top = s.scrollTop; height = s.scrollHeight;
  }, { passive: true });
  const sizes = new ResizeObserver(() => { if (atEnd()) set(true); if (follow) s.scrollTop = s.scrollHeight; }); // a shorter chat has its end in view; what is drawn late moves it
  for (const child of s.children) sizes.observe(child);
}
let seen = null, ended = null, unsaved = null;
const left = new Set(); // views that the page has moved on from: what their events send last arrives after that
function tell(v) {
  if (v.view && v.view !== seen) {
    seen = v.view;
    if (v.begins) { playground.chat(v.chat); followAgain(); } // a reload that comes before the turns are there finds the chat, too
    if (v.sent) trigger('sent');
    if (v.begins && !v.over) trigger('begun');
  }
  if (v.over && v.view !== ended) { ended = v.view; trigger('over'); if (v.turn) stand(v); }
  if (v.unsaved && v.view !== unsaved) { unsaved = v.view; trigger('unsaved'); }
}
// The finished turn in place of the live one, before the server is asked for everything as stored.
async function stand(v) {
  await growing.text.settled();
  if (left.has(v.view) || seen !== v.view) return;
  playground.finished(v.turn);
  at('.live').hidden = true;
}
function draw() {
  watchScroll();
  const v = props.value || {};
  if (v.after && seen !== ended && seen !== unsaved) return; // another answer has begun before the server told of this one's end
  if (v.left && seen) left.add(seen);
  if (v.view && left.has(v.view)) return;
  if (v.view || v.error) { playground.mark(document.body, 'sending', ''); if (v.error && !v.view) playground.refused(); }
  tell(v);
  set(at('.live'), 'hidden', !v.on);
  playground.running(!!v.running);
  const line = document.querySelector('#status');
  if (line) { playground.mark(line, 'state', v.state || 'idle'); set(line, 'textContent', v.status || ''); }
  const t = v.thinking;
  set(box, 'hidden', !t);
  if (t) {
    playground.traceHead(box, t);
    set(text, 'hidden', !!t.done && !box.dataset.open);
    growing.think(t.text || '');
  } else { growing.forget(); delete box.dataset.open; }
  drawSteps(v.steps || []);
  growing.answer(v.answer || '', v);
  set(wait, 'textContent', v.wait || '');
  if (error.dataset.html !== (v.error || '')) { error.innerHTML = v.error || ''; error.dataset.html = v.error || ''; }
  if (v.says && says.textContent !== v.says) says.textContent = v.says;
  const s = scroller();
  if (s && (v.jump || (follow && v.error))) s.scrollTop = s.scrollHeight; // else as the sizes change, once a frame
}
// Turns that called tools, part by part: only what changed is drawn again, so that what somebody types into a card stays.
const steps = at('.steps'), known = new Map();
function drawSteps(parts) {
  const keep = new Set(parts.map((p) => p.id));
  for (const [id, part] of known) if (!keep.has(id)) { part.node.remove(); known.delete(id); }
  let before = null;
  for (const { id, html } of parts) {
    let part = known.get(id);
    if (!part || part.html !== html) {
      const node = document.createElement('div'); node.innerHTML = html;
      if (part) part.node.replaceWith(node);
      part = { node, html }; known.set(id, part);
    }
    const next = before ? before.nextSibling : steps.firstChild;
    if (next !== part.node) steps.insertBefore(part.node, next);
    before = part.node;
  }
}
steps.addEventListener('click', (e) => {
  const b = e.target.closest('[data-op=tool]'); if (!b || b.disabled) return;
  const card = b.closest('.call'), decision = b.dataset.decision;
  for (const other of card.querySelectorAll('[data-op=tool]')) other.disabled = true; // until the next value says what became of it
  if (decision === 'always' || decision === 'never') playground.toolPolicy(card.dataset.name, decision);
  trigger('tool', { call: card.dataset.call, decision, text: card.querySelector('.call-answer')?.value || '' });
});
steps.addEventListener('keydown', (e) => { if (!e.isComposing && e.key === 'Enter' && (e.ctrlKey || e.metaKey) && e.target.matches('.call-answer')) e.target.closest('.call').querySelector('[data-decision=result]').click(); });
at('.trace-head').addEventListener('click', (e) => { if (e.target.closest('button')) return; if (box.dataset.open) delete box.dataset.open; else box.dataset.open = 'yes'; draw(); });
error.addEventListener('click', (e) => {
  const b = e.target.closest('[data-op]'); if (!b) return;
  if (b.dataset.op === 'panel') playground.panel(b.dataset.panel === 'parameters' ? '' : b.dataset.panel);
  else if (b.dataset.op === 'new') playground.click('new-chat');
  else error.textContent = '';
});
watch('value', draw);
draw();
