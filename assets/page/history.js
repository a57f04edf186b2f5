// The list of chats. value = { groups: [{ title, entries: [{ id, title, pinned, kind, menu }] }], current, empty }.
const root = element.querySelector('.chats');
const W = props.words;
const make = (tag, text, cls) => { const n = document.createElement(tag); if (cls) n.className = cls; if (text != null) n.textContent = text; if (tag === 'button') n.type = 'button'; return n; };
let renaming = false;
function rename(entry, row) {
  renaming = true;
  const input = make('input'); input.value = entry.title; input.setAttribute('aria-label', W.rename_to); row.replaceChildren(input); input.focus(); input.select();
  const done = (save) => { renaming = false; if (save && input.value.trim() && input.value !== entry.title) trigger('pick', { op: 'rename', id: entry.id, title: input.value }); else draw(); };
  input.addEventListener('keydown', (e) => { if (e.isComposing) return; if (e.key === 'Enter') done(true); if (e.key === 'Escape') { e.stopPropagation(); done(false); } });
  input.addEventListener('blur', () => { if (input.isConnected) done(true); });
}
function menu(entry, row) {
  for (const old of root.querySelectorAll('.menu')) old.remove();
  const box = make('div', null, 'menu'); box.setAttribute('role', 'menu');
  const item = (label, act, cls) => { const b = make('button', label, cls); b.setAttribute('role', 'menuitem'); b.onclick = (e) => { e.stopPropagation(); box.remove(); act(); }; box.append(b); };
  const send = (op) => trigger('pick', { op, id: entry.id });
  if (!entry.menu) { // a comparison has less to choose from
    item(W.rename, () => rename(entry, row)); item(entry.pinned ? W.unpin : W.pin, () => send(entry.pinned ? 'unpin' : 'pin'));
    item(W.export_markdown, () => send('markdown')); item(W.export_json, () => send('json'));
  }
  item(W.delete, () => { if (confirm(W.delete_sure)) send('delete'); }, 'bad');
  row.append(box); box.firstChild.focus();
  if (box.getBoundingClientRect().bottom > innerHeight - 8) { box.style.top = 'auto'; box.style.bottom = '100%'; }
}
function draw() {
  if (renaming) return; // what is being typed stays; the list is drawn when that ends
  const v = props.value || { groups: [] };
  const opened = root.querySelector('.menu')?.parentElement.dataset.id;
  root.replaceChildren();
  for (const group of v.groups) {
    root.append(make('h6', group.title));
    for (const entry of group.entries) {
      const row = make('div', null, 'chat-entry'); row.dataset.id = entry.id; if (entry.id === v.current) row.setAttribute('aria-current', 'true');
      const open = make('button', entry.title, 'open'); open.title = entry.title; open.onclick = () => trigger('pick', { op: entry.kind, id: entry.id }); row.append(open);
      if (entry.kind === 'open') { const dots = make('button', '⋯', 'dots'); dots.setAttribute('aria-label', W.more); dots.onclick = (e) => { e.stopPropagation(); menu(entry, row); }; row.append(dots); }
      root.append(row);
      if (entry.id === opened) menu(entry, row);
    }
  }
  if (v.empty) root.prepend(make('div', v.empty, 'hint'));
}
watch('value', draw);
draw();
