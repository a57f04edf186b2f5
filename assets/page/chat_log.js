// The turns. value = { chat, restore, follow, turns: [{ id, key, role, html, copy }] }: see turns.js.
const root = element.querySelector('.log');
const turns = new playground.Turns(root, (id) => server.trace(id));
let chat = null;
const WAITS = ['edit', 'regenerate', 'continue', 'delete', 'select']; // refused by the server while an answer is being written
function draw() {
  asked = false;
  const value = props.value || { turns: [] };
  const fresh = value.chat !== chat;
  if (fresh) { chat = value.chat; playground.chat(value.chat); if (value.restore) trigger('restore'); }
  turns.update(value.turns);
  if (own && document.body.dataset.sending) turns.add(own); // told of the answer before
  if (fresh || value.follow || (!document.body.dataset.away && value.turns.length > 1)) { const s = document.querySelector('#scroll'); if (s) requestAnimationFrame(() => { s.scrollTop = s.scrollHeight; }); }
}
// What was just asked stands there at once, drawn here; the server's own turn comes in its place. Refused, it goes again.
const esc = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
let asked = false, own = null;
playground.asked = (text, files) => {
  const names = files.length ? `<div class="files">${files.map((name) => `<span class="file">${esc(name)}</span>`).join('')}</div>` : '';
  const words = /^ {0,3}(?:`{3}|~{3})/m.test(text) ? `<markdown-text fenced>${esc(text)}</markdown-text>` : esc(text);
  own = { id: 'asked', key: `${text}\n${files}`, role: 'user', html: `<div class="you" dir="auto">${names}${words}</div><div class="acts"></div>`, copy: text };
  turns.add(own);
  asked = true; document.body.dataset.sending = 'on';
  const s = document.querySelector('#scroll'); if (s) s.scrollTop = s.scrollHeight;
};
playground.refused = () => { delete document.body.dataset.sending; if (asked) draw(); };
playground.finished = (turn) => turns.add(turn);
function edit(id) {
  const node = turns.nodeOf(id); if (!node || node.querySelector('.editor')) return;
  const words = props.words;
  const box = document.createElement('div'); box.className = 'editor';
  const area = document.createElement('textarea'); area.value = turns.copyOf(id); area.setAttribute('aria-label', words.edit);
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
  const op = b.dataset.op, id = turns.idOf(b);
  if (document.body.dataset.running && WAITS.includes(op)) return;
  if (op === 'copy') playground.copy(turns.copyOf(id), b);
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
watch('value', draw);
draw();
