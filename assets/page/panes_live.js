// The answers in the making, drawn into the panes. value = { panes: [null | { state, status, thinking, answer, plain, ended, wait, error, foot }], running,
// hidden, state, status, error }; beside it { view, begins, comparison, over, left } as in live.js.
const error = element.querySelector('.page-error'), says = element.querySelector('[role=status]');
const html = (node, words) => { if (node.dataset.html !== words) { node.innerHTML = words; node.dataset.html = words; } };
const panes = [...document.querySelectorAll('.pane')].map((row) => {
  const at = (s) => row.querySelector(s), box = at('.think'), trace = at('.trace-text'), answer = at('.answer-live'), body = at('.pane-body');
  const growing = new playground.Growing({ trace, drawn: at('.drawn'), tail: at('.tail') });
  let follow = true;
  const sizes = new ResizeObserver(() => { if (follow) body.scrollTop = body.scrollHeight; }); for (const child of body.children) sizes.observe(child);
  body.addEventListener('scroll', () => { follow = body.scrollHeight - body.scrollTop - body.clientHeight < 40; }, { passive: true });
  at('.trace-head').addEventListener('click', () => { if (box.dataset.open) delete box.dataset.open; else box.dataset.open = 'yes'; trace.hidden = !box.dataset.open; });
  return { row, draw(p) {
    const live = at('.pane-live'), stop = at('.stop');
    if (!p) {
      if (live.hidden) return;
      live.hidden = true; stop.hidden = true; answer.classList.remove('answer'); box.classList.remove('thinking');
      growing.forget(); growing.answer(''); box.hidden = true; delete box.dataset.open; html(at('.pane-error'), ''); at('.wait').textContent = '';
      return;
    }
    const ended = ['done', 'stopped', 'error'].includes(p.state);
    live.hidden = false; stop.hidden = ended; row.dataset.state = p.state; at('.state').textContent = p.status;
    const tab = document.querySelector(`[data-tab-of="${Number(row.dataset.place) + 1}"]`); if (tab) tab.dataset.state = p.state;
    const t = p.thinking; box.hidden = !t; box.classList.toggle('thinking', !!t); answer.classList.toggle('answer', !!p.answer);
    if (t) { playground.traceHead(box, t); trace.hidden = !!t.done && !box.dataset.open; growing.think(t.text); } else growing.forget();
    growing.answer(p.answer, p); at('.wait').textContent = p.wait || '';
    html(at('.pane-error'), p.error || ''); html(at('.pane-foot'), p.foot || '');
  } };
});
let seen = null, ended = null, unsaved = null;
const left = new Set(); // views that the page has moved on from: what their events send last arrives after that
function draw() {
  const v = props.value || { panes: [] };
  if (v.error && !v.view) { html(error, v.error); return; } // of a button: what streams goes on as it was
  if (v.left && seen) left.add(seen);
  if (v.view && left.has(v.view)) return;
  if (v.error || v.left || (v.begins && v.view !== seen)) html(error, v.error || ''); // else it stays until it is closed
  if (v.view && v.view !== seen) {
    if (seen) left.add(seen);
    seen = v.view;
    if (v.begins) { playground.address('compare', v.comparison); playground.type('#compare-prompt textarea', ''); for (const p of panes) { const b = p.row.querySelector('.pane-body'); b.scrollTop = b.scrollHeight; } }
    if (v.begins && !v.over) trigger('begun');
  }
  if (v.hidden) panes.forEach((p, i) => { p.row.querySelector('.model').textContent = `Model ${'ABCD'[i]}`; p.row.querySelector('.setting').textContent = p.row.querySelector('.place').textContent = ''; });
  panes.forEach((p, i) => p.draw((v.panes || [])[i]));
  const compare = document.querySelector('#compare'); if (compare) { compare.dataset.running = v.running ? 'on' : ''; compare.dataset.state = v.state || 'idle'; }
  if (says.textContent !== (v.status || '')) says.textContent = v.status || '';
  if (v.over && v.view !== ended) { ended = v.view; trigger('over'); }
  if (v.unsaved && v.view !== unsaved) { unsaved = v.view; trigger('unsaved'); }
}
error.addEventListener('click', (e) => {
  const b = e.target.closest('[data-op]'); if (!b) return;
  if (b.dataset.panel === 'connect') { playground.tab(''); playground.panel('connect'); }
  html(error, '');
});
watch('value', draw);
draw();
