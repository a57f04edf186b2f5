// Finished turns in one place of the page: [{ id, key, role, html, copy }], HTML built and escaped by the server. A turn whose key did
// not change keeps its element, so open traces and selections survive an update. `trace(id)` gives a folded trace's text.
window.playground.Turns = class {
  constructor(root, trace) {
    this.root = root; this.known = new Map();
    // A trace travels only when somebody opens it: a long chat's traces would outweigh everything else on the page.
    root.addEventListener('toggle', async (e) => {
      const box = e.target.closest('details.trace'); if (!box || !box.open || box.dataset.filled) return;
      box.dataset.filled = 'yes';
      const body = box.querySelector('.trace-body'); body.textContent = '…';
      try {
        const text = await trace(this.idOf(box)), drawn = document.createElement('markdown-text');
        drawn.textContent = text; body.textContent = ''; body.append(drawn);
      } catch { delete box.dataset.filled; body.textContent = '-'; }
    }, true);
  }
  idOf(node) { return node.closest('.turn')?.dataset.id; }
  copyOf(id) { return this.known.get(id)?.copy || ''; }
  nodeOf(id) { return this.known.get(id)?.node; }
  // One more turn at the end, until the next update tells all of them: a question just asked, an answer just finished.
  add(turn) { this.update([...[...this.known].filter(([id]) => id !== 'empty' && id !== turn.id).map(([id, t]) => ({ id, ...t })), turn]); }
  update(turns) {
    const keep = new Set(turns.map((t) => t.id));
    for (const [id, t] of this.known) if (!keep.has(id)) { t.node.remove(); this.known.delete(id); }
    let before = null;
    for (const turn of turns) {
      let known = this.known.get(turn.id);
      if (!known || known.key !== turn.key) {
        const node = document.createElement('div');
        node.className = `turn ${turn.role}`; node.dataset.id = turn.id; node.innerHTML = turn.html;
        if (known) known.node.replaceWith(node); else this.root.append(node);
        known = { node, key: turn.key, role: turn.role, html: turn.html }; this.known.set(turn.id, known);
      }
      known.copy = turn.copy;
      const next = before ? before.nextSibling : this.root.firstChild;
      if (next !== known.node) this.root.insertBefore(known.node, next);
      before = known.node;
    }
  }
};
