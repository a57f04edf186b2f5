// The page's side of the Markdown worker: texts are drawn there, one at a time, those in the making first. A text that takes too long is
// shown as it was written, and the worker begins anew.
(() => {
  const LIMIT_MS = 5000, START_MS = 30000, MAX_KEPT_CHARS = 8e6, AT_ONCE_CHARS = 200000;
  const waiting = [], kept = new Map();
  let worker = null, ready = false, asked = null, timer = 0, number = 0, keptChars = 0, failures = 0;
  const address = (file) => new URL(`page/${playground.config.version}/${file}`, document.baseURI).href;
  const escapeHtml = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
  const plain = (text) => [`<pre class="plain" dir="auto">${escapeHtml(text)}</pre>`];

  function start() {
    ready = false;
    try { worker = new Worker(address('page/markdown_worker.js')); } catch { worker = null; failures = Infinity; return; }
    worker.onmessage = ({ data }) => {
      failures = 0;
      if (data.ready) { ready = true; clearTimeout(timer); if (asked) limit(); return; }
      if (!asked || data.n !== asked.n) return;
      clearTimeout(timer);
      const { answer } = asked; asked = null;
      answer(data.failed ? null : data);
      next();
    };
    worker.onerror = (event) => { event.preventDefault(); giveUp(); };
    worker.postMessage({ kind: 'words', words: playground.config.code });
    clearTimeout(timer); timer = setTimeout(giveUp, START_MS);
  }
  function limit() { clearTimeout(timer); timer = setTimeout(giveUp, LIMIT_MS); }
  function giveUp() { // killed: only the text that was at work is lost to it
    clearTimeout(timer);
    worker?.terminate(); worker = null;
    if (!ready) failures += 1;
    const lost = asked; asked = null;
    lost?.answer(null);
    next();
  }
  function next() {
    if (asked || !waiting.length) return;
    const at = Math.max(0, waiting.findIndex((each) => each.urgent));
    asked = waiting.splice(at, 1)[0];
    if (!worker && failures < 3) start();
    if (!worker) { const { answer } = asked; asked = null; answer(null); return next(); }
    worker.postMessage({ ...asked.question, n: asked.n });
    if (ready) limit();
  }
  // The worker's answer, or null where it has none.
  const ask = (question, urgent = false) => new Promise((answer) => { waiting.push({ question, urgent, answer, n: ++number }); next(); });

  function keep(text, blocks) {
    if (kept.has(text)) { kept.delete(text); kept.set(text, blocks); return; }
    kept.set(text, blocks); keptChars += text.length;
    for (const [old] of kept) { if (keptChars <= MAX_KEPT_CHARS || kept.size < 2) break; kept.delete(old); keptChars -= old.length; }
  }

  // ---- a finished text where it stands: <markdown-text>what was written</markdown-text>, drawn when it comes near
  const near = new IntersectionObserver((seen) => { for (const { target, isIntersecting } of seen) if (isIntersecting) { near.unobserve(target); target.draw(); } }, { rootMargin: '1200px' });
  customElements.define('markdown-text', class extends HTMLElement {
    connectedCallback() {
      if (this.source !== undefined) return;
      this.source = this.textContent;
      const known = kept.get(this.source);
      if (known) { keep(this.source, known); this.show(known); } else near.observe(this);
    }
    write(text) { this.source = text; this.draw(); } // another text in its place
    disconnectedCallback() { near.unobserve(this); }
    async draw() {
      const kind = this.hasAttribute('fenced') ? 'fenced' : 'finished';
      const told = kept.has(this.source) ? { blocks: kept.get(this.source) } : await ask({ kind, text: this.source });
      const blocks = told?.blocks || plain(this.source);
      if (kind === 'finished' && told) keep(this.source, blocks);
      this.show(blocks);
    }
    show(blocks) {
      this.textContent = ''; this.dataset.drawn = '';
      const add = (from) => { // what is very long some blocks a frame
        let chars = 0, to = from;
        while (to < blocks.length && (chars < AT_ONCE_CHARS || to === from)) chars += blocks[to++].length;
        this.insertAdjacentHTML('beforeend', blocks.slice(from, to).join(''));
        if (to < blocks.length) requestAnimationFrame(() => add(to));
      };
      if (blocks.length) add(0);
    }
  });

  // ---- a text in the making, drawn into `box`: only what changed is touched
  let views = 0;
  playground.GrowingText = class {
    constructor(box) { this.box = box; this.clear(); }
    clear() { Object.assign(this, { id: ++views, sent: '', ended: false, wanted: null, drawnBy: null, failed: 0, pieces: null }); this.box.textContent = ''; }
    show(text, ended) {
      if (text === this.sent && (!ended || this.ended)) return;
      if (this.pieces) { this.pieces.show(text); this.sent = text; this.ended = ended; return; }
      this.wanted = { text, ended };
      this.pump();
    }
    // Resolves once all that was shown is drawn.
    settled() { return new Promise((done) => { const look = () => (this.busy || this.wanted ? setTimeout(look, 4) : done()); look(); }); }
    async pump() {
      if (this.busy || !this.wanted) return;
      if (!worker && failures < 3) start();
      const { text, ended } = this.wanted, { id } = this, by = worker;
      const from = this.drawnBy === by && text.startsWith(this.sent) ? this.sent.length : 0;
      this.wanted = null; this.busy = true;
      const told = await ask({ kind: 'grow', id, from, more: text.slice(from), ended }, true);
      this.busy = false;
      if (id === this.id && told) {
        if (from === 0) this.box.textContent = '';
        for (const op of told.ops) this.apply(op);
        Object.assign(this, { sent: text, ended, drawnBy: by });
        if (told.blocks) keep(text, told.blocks);
      } else if (id === this.id) { // once for the worker that another text may have ended, then as it was written
        this.wanted ??= { text, ended }; this.drawnBy = null;
        if (++this.failed > 1) { this.box.textContent = ''; this.pieces = new playground.Pieces(this.box, 1000); const { text: last, ended: over } = this.wanted; this.wanted = null; this.show(last, over); }
      }
      this.pump();
    }
    apply({ path, keep: count, html }) {
      let at = this.box;
      for (const i of path) at = at.children[i];
      if (count === 0) { at.innerHTML = html; return; }
      while (at.children.length > count) at.lastElementChild.remove();
      if (html) at.insertAdjacentHTML('beforeend', html);
    }
  };

  // ---- what code blocks and notes can do
  document.addEventListener('click', (e) => {
    const button = e.target.closest?.('[data-code]'), note = e.target.closest?.('[data-note]');
    if (note) return note.closest('.answer, .answer-live, .trace-body, markdown-text')?.querySelector(`[data-note-id="${note.dataset.note}"]`)?.scrollIntoView({ block: 'nearest' });
    if (!button) return;
    const block = button.closest('.code'), code = block.querySelector('pre').textContent;
    if (button.dataset.code === 'copy') playground.copy(code.replace(/\n$/, ''), button);
    else if (button.dataset.code === 'download') playground.save(`code.${block.dataset.file}`, code, 'text/plain');
    else if (button.dataset.code === 'wrap') { block.classList.toggle('wrapped'); button.setAttribute('aria-pressed', String(block.classList.contains('wrapped'))); }
    else if (button.dataset.code === 'draw') playground.diagram(block, code);
  });
  playground.markdown = { ask, address, plain, warm: () => { if (!worker && failures < 3) start(); } };
  const style = document.createElement('link'); style.rel = 'stylesheet';
  const begin = () => { style.href = address('vendor/katex/katex.min.css'); document.head.append(style); playground.markdown.warm(); };
  if (document.readyState === 'loading') addEventListener('DOMContentLoaded', begin); else begin();
})();
