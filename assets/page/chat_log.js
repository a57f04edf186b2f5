// The turns. value = { chat, restore, follow, turns: [{ id, key, html, copy }] }. The server builds the HTML (escaped there); a turn whose
// key did not change keeps its element, so open traces and selections survive an update.
const root = element.querySelector('.log');
const turns = new Map();
let chat = null;
const WAITS = ['edit', 'regenerate', 'continue', 'delete', 'select']; // refused by the server while an answer is being written
const find = (node) => node.closest('.turn')?.dataset.id;
function draw() {
  const value = props.value || { turns: [] };
  const fresh = value.chat !== chat;
  if (fresh) { chat = value.chat; playground.chat(value.chat); if (value.restore) trigger('restore'); }
  const keep = new Set(value.turns.map((t) => t.id));
  for (const [id, t] of turns) if (!keep.has(id)) { t.node.remove(); turns.delete(id); }
  let before = null;
  for (const turn of value.turns) {
    let known = turns.get(turn.id);
    if (!known || known.key !== turn.key) {
      const node = document.createElement('div');
      node.className = `turn ${turn.role}`; node.dataset.id = turn.id; node.innerHTML = turn.html;
      if (known) known.node.replaceWith(node); else root.append(node);
      known = { node, key: turn.key }; turns.set(turn.id, known);
    }
    known.copy = turn.copy;
    if (before ? before.nextSibling !== known.node : root.firstChild !== known.node) root.insertBefore(known.node, before ? before.nextSibling : root.firstChild);
    before = known.node;
  }
  if (fresh || value.follow || (!document.body.dataset.away && value.turns.length > 1)) { const s = document.querySelector('#scroll'); if (s) requestAnimationFrame(() => { s.scrollTop = s.scrollHeight; }); }
}
function edit(id) {
  const node = turns.get(id)?.node; if (!node || node.querySelector('.editor')) return;
  const words = props.words;
  const box = document.createElement('div'); box.className = 'editor';
  const area = document.createElement('textarea'); area.value = turns.get(id).copy || ''; area.setAttribute('aria-label', words.edit);
  const row = document.createElement('div'); row.className = 'row';
  const close = () => box.remove();
  for (const [label, act] of [[words.cancel, close], [words.save_edit, () => { close(); trigger('restart', { op: 'edit', id, text: area.value }); }]]) {
    const b = document.createElement('button'); b.className = 'btn'; b.type = 'button'; b.textContent = label; b.onclick = act; row.append(b);
  }
  area.addEventListener('keydown', (e) => { if (e.isComposing) return; if (e.key === 'Escape') { e.stopPropagation(); close(); } if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) row.lastChild.click(); });
  box.append(area, row); node.append(box); area.focus(); area.style.height = `${Math.min(area.scrollHeight + 4, 400)}px`;
}
root.addEventListener('click', (e) => {
  const b = e.target.closest('[data-op]'); if (!b || b.disabled) return;
  const op = b.dataset.op, id = find(b);
  if (document.body.dataset.running && WAITS.includes(op)) return;
  if (op === 'copy') playground.copy(turns.get(id)?.copy || '', b);
  else if (op === 'edit') edit(id);
  else if (op === 'panel') playground.panel(b.dataset.panel === 'parameters' ? '' : b.dataset.panel);
  else if (op === 'model') playground.panel('connect');
  else if (op === 'starter') playground.type('#composer textarea', b.dataset.text);
  else if (op === 'new') playground.click('new-chat');
  else if (op === 'dismiss') b.closest('.err').remove();
  else if (op === 'delete') { if (confirm(props.words.delete_turn_sure)) trigger('act', { op, id }); }
  else if (op === 'request') { playground.panel('request'); trigger('request', { id }); }
  else if (op === 'regenerate' || op === 'continue') trigger('restart', { op, id });
  else if (op === 'replay') trigger('replay', { name: b.dataset.name });
  else trigger('act', { op, id: b.dataset.to || id });
});
// A trace travels only when somebody opens it: a long chat's traces would outweigh everything else on the page.
root.addEventListener('toggle', async (e) => {
  const box = e.target.closest('details.trace'); if (!box || !box.open || box.dataset.filled) return;
  box.dataset.filled = 'yes';
  const body = box.querySelector('.trace-body'); body.textContent = '…';
  try {
    const blocks = await server.trace(find(box));
    body.textContent = '';
    const add = (from) => { // a few blocks a frame, so that a very long trace does not freeze the page
      for (const html of blocks.slice(from, from + 20)) { const d = document.createElement('div'); d.innerHTML = html; body.append(d); }
      if (from + 20 < blocks.length) requestAnimationFrame(() => add(from + 20));
    };
    add(0);
  } catch { delete box.dataset.filled; body.textContent = '-'; }
}, true);
watch('value', draw);
draw();
