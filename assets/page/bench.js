// The panes side by side: heads, finished turns, feet, votes, views. value = { id, panes: [{ name, place, setting, asked, turns, state, foot }],
// blind, hidden, verdict, voted, focus, note }; what is being written is drawn by panes_live.js into the same panes.
const root = element, rows = [...root.querySelectorAll('.pane')], tabs = [...root.querySelectorAll('[data-tab-of]')];
const turns = rows.map((row) => new playground.Turns(row.querySelector('.pane-turns'), (id) => server.trace(id)));
const by = (s) => document.querySelector(s);
const text = (node, words) => { if (node.textContent !== words) node.textContent = words; };
const html = (node, words) => { if (node.dataset.html !== words) { node.innerHTML = words; node.dataset.html = words; } };
let shownId = null, view = 'answers', asked = {};
function shortNames(names) { // without the words that all begin with: a phone's tabs have room for what tells the panes apart
  const words = names.map((n) => n.split(' ')); let same = 0;
  while (words.length > 1 && words.every((w) => w.length > same + 1 && w[same] === words[0][same])) same++;
  return words.map((w) => w.slice(same).join(' '));
}
function draw() {
  const v = props.value || { panes: [] }, short = shortNames(v.panes.map((p) => p.name));
  if (v.id !== shownId) { if (v.id || shownId) playground.address('compare', v.id); shownId = v.id; const c = by('#compare'); if (c) c.dataset.popup = ''; }
  rows.forEach((row, i) => {
    const pane = v.panes[i]; row.hidden = !pane; tabs[i].hidden = !pane;
    if (!pane) { delete row.dataset.grown; turns[i].update([]); return; }
    const at = (s) => row.querySelector(s);
    text(at('.model'), pane.name); text(at('.place'), pane.place); text(at('.setting'), pane.setting);
    row.dataset.asked = pane.asked ? 'yes' : 'no'; row.dataset.focus = v.focus === i ? 'yes' : 'no';
    if (at('.pane-live').hidden) { row.dataset.state = pane.state; text(at('.state'), ''); html(at('.pane-foot'), pane.foot); }
    const body = at('.pane-body'), end = body.scrollHeight - body.scrollTop - body.clientHeight < 60;
    turns[i].update(pane.turns);
    if (end) body.scrollTop = body.scrollHeight;
    text(tabs[i], pane.place ? `${pane.place} · ${short[i]}` : pane.name); tabs[i].dataset.state = row.dataset.state;
  });
  root.querySelector('#panes').dataset.count = v.panes.length;
  if (!by('#blind')) return; // this is drawn before the row of votes is there, and once more when the page is loaded
  for (let n = 1; n <= rows.length; n++) { const b = by(`#vote-${n}`); b.hidden = n > v.panes.length; }
  for (const b of document.querySelectorAll('#vote-row [data-verdict]')) b.setAttribute('aria-pressed', String(b.dataset.verdict === v.verdict));
  by('#blind').setAttribute('aria-pressed', String(!!v.blind)); text(by('#voted'), v.voted || '');
  html(by('#bench-note'), v.note || '');
  const compare = by('#compare'); compare.dataset.hiddenNames = v.hidden ? 'yes' : 'no';
  compare.dataset.drawer = v.focus == null ? '' : 'open';
  if (['diff', 'table', 'results'].includes(view)) look();
}
function look(more) { asked = { ...asked, ...more, view }; trigger('look', asked); }
playground.lookAgain = () => { if (['diff', 'table', 'results'].includes(view)) look(); };
function show(name) {
  if (view === 'thinking' && name !== 'thinking') for (const d of root.querySelectorAll('details.trace')) d.open = false;
  view = name; by('#compare').dataset.view = name;
  for (const b of document.querySelectorAll('#vote-row [data-view]')) b.setAttribute('aria-pressed', String(b.dataset.view === name));
  if (name === 'thinking') for (const d of root.querySelectorAll('details.trace')) d.open = true;
  if (['diff', 'table', 'results'].includes(name)) look();
  if (['sets', 'sweep'].includes(name)) trigger(name);
}
function grow(row) { const on = row.dataset.grown === 'yes'; for (const r of rows) delete r.dataset.grown; if (!on) row.dataset.grown = 'yes'; by('#panes').dataset.grown = on ? '' : 'yes'; }
const ASKS = ['catch-up', 'select'], ARRANGES = ['left', 'right', 'remove'];
function act(b) {
  const op = b.dataset.compare || b.dataset.op, row = b.closest('.pane'), place = row ? Number(row.dataset.place) : -1;
  b.closest('details.pane-more')?.removeAttribute('open');
  if (op === 'vote') trigger('vote', { verdict: b.dataset.verdict, tag: by('#vote-tag').value });
  else if (op === 'blind') trigger('blind');
  else if (op === 'export') trigger('export', { form: b.dataset.form });
  else if (op === 'earlier' || op === 'share') { const c = by('#compare'), open = c.dataset.popup !== op; c.dataset.popup = open ? op : ''; if (open && op === 'earlier') trigger('earlier'); }
  else if (op === 'new') { show('answers'); trigger('new'); }
  else if (op === 'stop') trigger('halt', { place });
  else if (op === 'grow') grow(row);
  else if (op === 'settings') trigger('settings', { place: row.dataset.focus === 'yes' ? -1 : place });
  else if (op === 'close') trigger('settings', { place: -1 });
  else if (op === 'to-chat') { trigger('chat', { place }); playground.tab(''); }
  else if (ASKS.includes(op)) trigger('ask', { op, place, id: b.dataset.to });
  else if (ARRANGES.includes(op)) trigger('arrange', { op, place });
  else if (op === 'regenerate') trigger('ask', { op: 'again', place, id: turns[place].idOf(b) });
  else if (op === 'panel') b.dataset.panel === 'connect' ? (playground.tab(''), playground.panel('connect')) : trigger('settings', { place });
  else if (op === 'copy') playground.copy(turns[place].copyOf(turns[place].idOf(b)), b);
}
const compare = () => by('#compare');
document.addEventListener('click', (e) => {
  if (!compare()?.contains(e.target)) return;
  const b = e.target.closest('[data-compare], .pane [data-op], [data-tab-of], #vote-row [data-view]');
  if (!e.target.closest('#compare-history, #compare-share') && !['earlier', 'share'].includes(b?.dataset.compare)) compare().dataset.popup = '';
  for (const d of root.querySelectorAll('details.pane-more[open]')) if (!d.contains(e.target)) d.open = false;
  if (!b || b.disabled) return;
  if (b.dataset.view) show(b.dataset.view);
  else if (b.dataset.tabOf) rows[b.dataset.tabOf - 1].scrollIntoView({ behavior: 'auto', inline: 'start', block: 'nearest' });
  else act(b);
});
document.addEventListener('change', (e) => { const s = e.target.closest?.('#compare-view [data-look]'); if (s) look({ [s.dataset.look]: s.value }); });
document.addEventListener('keydown', (e) => { // gradio passes over an Enter while the answers before stream: say so instead
  if (e.key !== 'Enter' || e.shiftKey || !e.target.matches?.('#compare-prompt textarea') || !compare().dataset.running) return;
  e.preventDefault(); e.stopPropagation(); text(by('#voted'), props.words.busy);
}, true);
document.addEventListener('keydown', (e) => { // F maximises the pane that the pointer or the focus is in
  if (e.key !== 'f' || e.ctrlKey || e.metaKey || e.altKey || e.target.matches?.('input, textarea, select, [contenteditable]') || document.body.dataset.tab !== 'compare') return;
  const row = rows.find((r) => r.contains(document.activeElement)) || rows.find((r) => r.matches(':hover')) || rows[0]; grow(row); e.preventDefault();
});
root.querySelector('#panes').addEventListener('scroll', () => { // the tab of the pane that a phone shows
  const box = root.querySelector('#panes'), n = Math.round(box.scrollLeft / Math.max(1, rows[0].offsetWidth));
  tabs.forEach((t, i) => t.setAttribute('aria-current', String(i === n)));
}, { passive: true });
tabs[0].setAttribute('aria-current', 'true');
watch('value', draw);
draw();
