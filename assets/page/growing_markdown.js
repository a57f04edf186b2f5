// An answer in the making as HTML. What cannot change any more is laid out once; the open block is laid out again as it grows: lists item
// by item, code in its box from the opening fence on, tables row by row, what is half open closed for the moment. Runs in the Markdown worker.
const BACK_TO_THE_START = /\[\^[^\]\s]+\]|^ {0,3}\[[^\]\n]+\]:\s/m; // notes, names of links: what they mean is told after they are used
const MAX_FROM_THE_START_CHARS = 200000;

class GrowingMarkdown {
  constructor() { this.text = ''; this.done = 0; this.blocks = []; this.frozen = 0; this.env = {}; this.fromStart = false; }

  // The changes that lead from what was drawn before to what is drawn of the text so far: see `changes`.
  update(text, ended) {
    this.text = whole(text);
    if (ended) { this.done = this.frozen = 0; this.env = {}; }
    else if (!this.fromStart && this.text.length < MAX_FROM_THE_START_CHARS && BACK_TO_THE_START.test(this.text.slice(Math.max(0, this.done - 200)))) {
      this.fromStart = true; this.done = this.frozen = 0; this.env = {};
    }
    const rest = this.text.slice(this.done), shown = ended ? rest : settled(rest);
    const env = ended || this.fromStart ? { growing: !ended } : { ...this.env, growing: true };
    const laid = longestBlock(rest) > MAX_BLOCK_CHARS ? [{ tree: plain(rest), line: 0 }] : laidOut(shown, env, performance.now() + TEXT_MS);
    const drawn = [...this.blocks.slice(0, this.frozen), ...laid.map(({ tree }) => tree)];
    const ops = [];
    changes(this.blocks, drawn, [], ops, this.frozen);
    this.blocks = drawn;
    if (!ended && !this.fromStart) this.freeze(rest, laid, env);
    return ops;
  }

  // Only blocks that end where a whole line begins the next one: "2" may become "2." and go on with a list.
  freeze(rest, laid, env) {
    const complete = rest.lastIndexOf('\n') + 1, starts = [0];
    for (let at = 0; (at = rest.indexOf('\n', at) + 1); ) starts.push(at);
    for (let i = laid.length - 1; i > 0; i--) {
      const from = laid[i].line === null ? null : starts[laid[i].line];
      if (from === null || from === undefined || (rest.indexOf('\n', from) + 1 || Infinity) > complete) continue;
      const { growing, ...kept } = env;
      this.env = kept; this.done += from; this.frozen += i;
      for (let n = this.frozen - i; n < this.frozen; n++) if (typeof this.blocks[n] !== 'string') this.blocks[n] = html(this.blocks[n]);
      return;
    }
  }
}

// From one list of trees to another as [{ path, keep, html }]: in the element that `path` leads to, the first `keep` children stay, the
// others go, and `html` comes after them.
function changes(before, after, path, ops, from = 0) {
  let same = from;
  while (same < before.length && same < after.length && alike(before[same], after[same])) same++;
  if (same === before.length && same === after.length) return;
  const was = before[same], is = after[same];
  if (was && is && was.open && was.open === is.open) {
    if (was.parts && is.parts) changes(was.parts, is.parts, [...path, same], ops);
    else if (!was.parts && !is.parts) ops.push({ path: [...path, same], keep: 0, html: is.html });
    else { ops.push({ path, keep: same, html: after.slice(same).map(html).join('') }); return; }
    same++;
    if (same === before.length && same === after.length) return;
  }
  ops.push({ path, keep: same, html: after.slice(same).map(html).join('') });
}
function alike(one, other) {
  if (typeof one === 'string' || typeof other === 'string') return (typeof one === 'string' ? one : html(one)) === (typeof other === 'string' ? other : html(other));
  if (one.open !== other.open || !one.parts !== !other.parts) return false;
  if (!one.parts) return one.html === other.html;
  return one.parts.length === other.parts.length && one.parts.every((part, i) => alike(part, other.parts[i]));
}

// ---- what is half written
const HALF_TAG = /<\/?(?:[a-z]{0,7})$/i, TAG_BEGINNINGS = ['br', 'details', 'summary', ...TAGS];
const ONLY_MARKS = /^[ \t]*(?:(?:>|[-+*]|\d{1,9}[.)])[ \t]+)*(?:[-+*=_~`#>:$]+|\d{1,9}[.)]|\[[ xX]?\]?)?[ \t]*$/;
const OPENING_FENCE = /^([ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(?:`{3,}|~{3,}))[^`\n]*$/;
// Without a last line or sign that may yet become something else, and with a table's border line that is still to come.
function settled(text) {
  const start = text.lastIndexOf('\n') + 1, before = text.slice(0, start);
  let line = text.slice(start);
  if (insideFence(text)) {
    const opening = OPENING_FENCE.exec(line);
    if (opening && !insideFence(before)) return before + opening[1]; // its language is still being written
    return before + line.replace(/^[ \t]*(?:`+|~+)[ \t]*$/, '');
  }
  const [above = '', twoAbove = ''] = before.slice(0, -1).split('\n').slice(-2).reverse().map((each) => each.replace(/^[ \t>]+/, ''));
  const row = /^([ \t]*(?:>[ \t]*)*)\|/.exec(line);
  if (above.startsWith('|') && !twoAbove.startsWith('|') && /^[ \t>]*\|?[-:| \t]*$/.test(line)) return before + (row ? row[1] : '') + border(above);
  if (row && /^[ \t>]*\|[ \t]*$/.test(line)) return before;
  if (row && !above.startsWith('|')) return `${text}\n${row[1]}${border(line)}`;
  if (ONLY_MARKS.test(line) || (/^[ \t]*\d{1,3}$/.test(line) && /^\d+[.)]\s/.test(above))) return before;
  const half = HALF_TAG.exec(line);
  if (half && TAG_BEGINNINGS.some((tag) => tag.startsWith(half[0].replace(/[</]/g, '').toLowerCase()))) line = line.slice(0, half.index);
  if (/(?:^|[^\\])(?:\\\\)*\\$/.test(line)) line = line.slice(0, -1);
  return before + line;
}
const border = (line) => `|${'---|'.repeat(Math.max(1, line.trim().replace(/^\||\|$/g, '').split(/(?<!\\)\|/).length))}`;
function insideFence(text) {
  let fence = '';
  for (const line of text.split('\n')) {
    const mark = /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})(.*)$/.exec(line);
    if (!mark) continue;
    if (!fence) { if (mark[1][0] !== '`' || !mark[2].includes('`')) fence = mark[1]; } else if (mark[1][0] === fence[0] && mark[1].length >= fence.length && !mark[2].trim()) fence = '';
  }
  return fence;
}
// The words at the end of what grows: code, bold and the like that are open are closed.
function provisional(content, env) {
  let text = content, code = '';
  for (let at = 0; at < text.length; ) {
    if (text[at] === '\\') { at += 2; continue; }
    const run = text[at] === '`' ? /^`+/.exec(text.slice(at))[0] : '';
    if (!run) { at++; continue; }
    const close = new RegExp(`(?<!\`)${run}(?!\`)`, 'g'); close.lastIndex = at + run.length;
    const found = close.exec(text);
    if (found) { at = close.lastIndex; continue; }
    if (at + run.length === text.length) text = text.slice(0, at); // has just begun
    else if (text.length - at < 500) code = /`$/.test(text) ? ` ${run}` : run;
    break;
  }
  if (code) text += code;
  else {
    const link = /\]\([^()\s]*$/.exec(text);
    if (link) text += ')';
    const run = /(?<!\\)(\*+|_+|~+)$/.exec(text);
    if (run) text = text.slice(0, run.index);
  }
  const tags = [];
  for (const [tag, close, name] of text.matchAll(/<(\/?)(sub|sup|kbd|mark|u)>/gi)) if (!close) tags.push(name); else if (tags.at(-1) === name) tags.pop();
  const closing = openMarks(text, env) + (tags.length > 10 ? '' : tags.reverse().map((name) => `</${name}>`).join(''));
  return closing ? text.trimEnd() + closing : text;
}
let unclosed = null;
md.inline.ruler2.after('balance_pairs', 'unclosed', (state) => { if (unclosed && state.level === 0) unclosed = state.delimiters.filter((mark) => mark.open && mark.end < 0).map((mark) => ({ sign: String.fromCharCode(mark.marker), token: mark.token, at: state.tokens[mark.token] })); });
function openMarks(text, env) {
  unclosed = [];
  md.inline.parse(text, md, { ...env, growing: false }, []);
  const marks = unclosed; unclosed = null;
  let closing = '';
  for (const { sign } of marks.reverse()) closing += sign === '~' ? '~~' : sign;
  const since = text.length - Math.max(text.lastIndexOf('**'), text.lastIndexOf('~~'), text.lastIndexOf(' *'), text.lastIndexOf(' _'), 0);
  return since < 400 ? closing : '';
}
md.core.ruler.before('inline', 'half_written', (state) => {
  if (!state.env.growing) return;
  const last = state.tokens.findLast((token) => token.type === 'inline' && token.content);
  if (!last) return;
  // only where the text ends in it
  const tail = state.tokens.slice(state.tokens.indexOf(last)).find((token) => token.type === 'fence' || token.type === 'code_block' || token.type.startsWith('formula_block'));
  if (tail) return;
  last.content = provisional(last.content, state.env);
  state.env.isLast = (src) => src === last.content;
});
