// Text in the making, in one place of the page: a trace as plain text, and an answer as Markdown that is drawn while it grows, or plain where
// it is none (JSON). Used by the chat and by each pane of a comparison.
window.playground.Growing = class {
  constructor({ trace, drawn, tail }) {
    Object.assign(this, { trace, follow: true, thought: new playground.Pieces(trace, 4000), text: new playground.GrowingText(drawn), rest: new playground.Pieces(tail, 1000) });
    trace.addEventListener('scroll', () => { this.follow = trace.scrollHeight - trace.scrollTop - trace.clientHeight < 24; });
  }
  think(all) {
    this.thought.show(all);
    if (this.follow && !this.trace.hidden) this.trace.scrollTop = this.trace.scrollHeight;
  }
  forget() { this.thought.show(''); }
  answer(text, { ended = false, plain = false } = {}) {
    this.rest.show(plain ? text : '');
    if (plain || !text) { if (this.text.sent || this.text.wanted || this.text.busy) this.text.clear(); } else this.text.show(text, ended);
  }
};
// Plain text that mostly grows: only what is new is appended, in pieces of `size` characters, of which the browser lays out the last again.
window.playground.Pieces = class {
  constructor(box, size) { Object.assign(this, { box, size, shown: '', last: null }); }
  show(all) {
    if (all === this.shown) return;
    if (!all.startsWith(this.shown)) { this.box.textContent = ''; this.shown = ''; this.last = null; }
    let rest = all.slice(this.shown.length);
    while (rest) {
      if (!this.last || this.last.length >= this.size) { this.last = document.createTextNode(''); const span = document.createElement('span'); span.append(this.last); this.box.append(span); }
      let cut = Math.max(1, this.size - this.last.length);
      if (/[\uD800-\uDBFF]/.test(rest[cut - 1])) cut += 1; // both halves of a sign stay together
      this.last.appendData(rest.slice(0, cut)); rest = rest.slice(cut);
    }
    this.shown = all;
  }
};
// The head of a trace in the making: label, count, budget meter.
window.playground.traceHead = (box, t) => {
  const at = (s) => box.querySelector(s), meter = at('.meter'), { set } = playground;
  set(at('.label'), 'textContent', t.label); set(at('.count'), 'textContent', t.count); set(at('.of'), 'textContent', t.of || '');
  set(meter, 'hidden', t.share == null);
  if (t.share != null) { meter.dataset.level = t.level; meter.firstElementChild.style.width = `${Math.min(100, 100 * t.share)}%`; meter.setAttribute('aria-valuenow', Math.round(100 * t.share)); }
};
