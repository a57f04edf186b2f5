// Text in the making, in one place of the page: a trace as plain text of which only what is new is appended, and an answer as
// finished blocks (HTML that the server escaped) and a plain tail. Used by the chat and by each pane of a comparison.
window.playground.Growing = class {
  static PIECE = 4000; // characters in one element: the browser lays out again only the last one
  constructor({ trace, frozen, tail }) {
    Object.assign(this, { trace, frozen, tail, shown: '', count: 0, piece: null, follow: true });
    trace.addEventListener('scroll', () => { this.follow = trace.scrollHeight - trace.scrollTop - trace.clientHeight < 24; });
  }
  think(all) {
    const { PIECE } = playground.Growing;
    if (!all.startsWith(this.shown)) this.forget();
    let rest = all.slice(this.shown.length);
    while (rest) {
      if (!this.piece || this.piece.length >= PIECE) { this.piece = document.createTextNode(''); const span = document.createElement('span'); span.append(this.piece); this.trace.append(span); }
      const part = rest.slice(0, PIECE - this.piece.length) || rest; this.piece.appendData(part); rest = rest.slice(part.length);
    }
    this.shown = all;
    if (this.follow && !this.trace.hidden) this.trace.scrollTop = this.trace.scrollHeight;
  }
  forget() { this.trace.textContent = ''; this.shown = ''; this.piece = null; }
  answer(blocks, tail) {
    if (blocks.length < this.count) { this.frozen.textContent = ''; this.count = 0; }
    for (; this.count < blocks.length; this.count++) { const d = document.createElement('div'); d.innerHTML = blocks[this.count]; this.frozen.append(d); }
    if (this.tail.textContent !== tail) this.tail.textContent = tail;
  }
};
// The head of a trace in the making: label, count, budget meter.
window.playground.traceHead = (box, t) => {
  const at = (s) => box.querySelector(s), meter = at('.meter');
  at('.label').textContent = t.label; at('.count').textContent = t.count; at('.of').textContent = t.of || '';
  meter.hidden = t.share == null;
  if (t.share != null) { meter.dataset.level = t.level; meter.firstElementChild.style.width = `${Math.min(100, 100 * t.share)}%`; meter.setAttribute('aria-valuenow', Math.round(100 * t.share)); }
};
