// TeX in Markdown: where a formula begins and ends in what models write, and its drawing by KaTeX. Runs in the Markdown worker.
// A formula that KaTeX cannot read is shown as it was written, in an element of the class `tex`.
const MAX_TEX_CHARS = 5000; // of one formula
const MAX_KEPT = 2000; // formulas that are kept as they were drawn: an answer in the making asks for its own again and again
const ENVIRONMENTS = new Set(`align align* aligned alignat alignat* alignedat array Bmatrix Bmatrix* bmatrix bmatrix* cases CD darray dcases drcases eqnarray
  eqnarray* equation equation* gather gather* gathered matrix matrix* multline multline* pmatrix pmatrix* rcases smallmatrix split subarray Vmatrix Vmatrix*
  vmatrix vmatrix*`.split(/\s+/));
const LIKE = { eqnarray: 'align', 'eqnarray*': 'align*', multline: 'gather', 'multline*': 'gather*' }; // which KaTeX does not know
const swallowed = (count) => (context) => { context.consumeArgs(count); return ''; };
// what models take from packages beside amsmath (siunitx, physics, dsfont), in KaTeX's own words; a label is for the author's eyes
const MACROS = {
  '\\label': swallowed(1), '\\mathds': '\\mathbb{#1}', '\\mathbbm': '\\mathbb{#1}', '\\eqref': '(\\text{#1})', '\\ref': '\\text{#1}',
  '\\SI': '#1\\,\\mathrm{#2}', '\\qty': '#1\\,\\mathrm{#2}', '\\num': '#1', '\\si': '\\mathrm{#1}', '\\unit': '\\mathrm{#1}',
  '\\dv': '\\frac{\\mathrm{d} #1}{\\mathrm{d} #2}', '\\pdv': '\\frac{\\partial #1}{\\partial #2}', '\\dd': '\\mathrm{d}', '\\abs': '\\left|#1\\right|',
  '\\norm': '\\left\\lVert#1\\right\\rVert', '\\xor': '\\oplus', '\\newline': '\\\\', '\\bigm': '\\big', '\\degree': '^\\circ', '\\percent': '\\%',
};
const ONLY_DISPLAYED = /\\begin\s*\{(?:align|alignat|gather|equation|eqnarray|multline|split|CD)\*?\}|\\tag\b/; // KaTeX refuses them in a line
const escapeHtml = (text) => text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
const kept = new Map();

function formula(source, display) {
  const key = (display ? 'D' : 'I') + source, known = kept.get(key);
  if (known !== undefined) return known;
  const drawn = drawFormula(source.trim(), display);
  if (kept.size >= MAX_KEPT) kept.delete(kept.keys().next().value);
  kept.set(key, drawn);
  return drawn;
}
function drawFormula(source, display) {
  try {
    if (!source || source.length > MAX_TEX_CHARS) throw new Error('nothing to draw');
    const tex = source.replace(/\\(begin|end)\s*\{(eqnarray\*?|multline\*?)\}/g, (_, what, name) => `\\${what}{${LIKE[name]}}`);
    display ||= ONLY_DISPLAYED.test(tex);
    const options = { displayMode: display, throwOnError: true, strict: 'ignore', trust: false, maxSize: 20, maxExpand: 1000 };
    const html = katex.renderToString(tex, { ...options, macros: { ...MACROS } });
    return display ? `<span class="formula" dir="ltr">${html}</span>` : `<span dir="ltr">${html}</span>`;
  } catch {
    return `<code class="tex" dir="ltr">${escapeHtml(source)}</code>`;
  }
}

// ---- which dollars are money, shell variables or code, and which hold a formula
const TEX_IN = /\\[a-zA-Z]+|[\^_]\s*[\w{\\(*+-]|\\[{},;!|]/;
const WORDS_IN = /(?:^|[\s,;:])[A-Za-z\u00C0-\u024F\u1E00-\u1EFF]{2,}(?=$|[\s,;:.!?])/; // outside TeX
const NAMES = /^(?:[a-zA-Z\u0370-\u03FF]'{0,3}|\d+[a-zA-Z]|[a-zA-Z]\d*)$/;
function plainInside(inner) { // what is left without commands and their texts
  return inner.replace(/\\(?:text\w*|mathrm|operatorname\*?|mathbf|mathit|mbox)\s*\{[^{}]*\}/g, ' ').replace(/\\[a-zA-Z]+/g, ' ');
}
function isFormula(inner, before, after) {
  if (!inner || /^\s|\s$/.test(inner)) { // $ x + y $: the same on both sides, and nothing of prose in it
    if (!/^ \S(?:[\s\S]*\S)? $/.test(inner) || /^\d/.test(after)) return false;
    return !/^ ?[\d.,]+ ?$/.test(inner) && !WORDS_IN.test(plainInside(inner)) && (TEX_IN.test(inner) || /^[\s\w+\-*/=<>().,|!]+$/.test(inner));
  }
  if (/\d/.test(after)) return false; // $5 and $10
  const clear = TEX_IN.test(inner) || NAMES.test(inner);
  if (/[A-Za-z_]/.test(before)) return false; // US$20
  if (/\d/.test(before) && !clear) return false; // 20$ and 30$
  if (/[A-Za-z_{(]/.test(after) && !(clear && !/[A-Za-z]{3,}|[:/]/.test(plainInside(inner)))) return false; // $HOME/bin:$PATH, but the $n$th
  if (/^\d/.test(inner) && !TEX_IN.test(inner) && WORDS_IN.test(inner)) return false; // $5 for one or 6$
  if (/^[{(]?[A-Z][A-Z0-9_]{2,}\b(?!\s*[=^+<>*-])/.test(inner) && /[\s/:]/.test(inner) && !/\\/.test(inner)) return false; // $HOME or ${X} and $
  return true;
}

// ---- inline: \( \), \[ \], $$ $$, $ $, \begin \end
// What has no end once has none later: a text of ten thousand openings is looked through once.
function without(state, mark) { return (state.endless ??= new Set()).has(mark); }
function endless(state, mark) { (state.endless ??= new Set()).add(mark); return -1; }
function closingOnce(state, mark, from) {
  if (without(state, mark)) return -1;
  const found = closing(state.src, mark, from, state.posMax);
  return found < 0 ? endless(state, mark) : found;
}
function closing(src, mark, from, to) {
  for (let at = src.indexOf(mark, from); at >= 0 && at + mark.length <= to; at = src.indexOf(mark, at + 1)) {
    let slashes = 0;
    while (src[at - 1 - slashes] === '\\') slashes++;
    if (slashes % 2 === 0) return at;
  }
  return -1;
}
function environmentAt(state, at) { // { name, end } of a known environment that begins here; end -1: not yet
  const { src, posMax } = state;
  const begin = /\\begin\s*\{([A-Za-z]+\*?)\}/y; begin.lastIndex = at;
  const found = begin.exec(src);
  if (!found || !ENVIRONMENTS.has(found[1]) || without(state, found[1])) return null;
  const marks = new RegExp(`\\\\(begin|end)\\s*\\{${found[1].replace('*', '\\*')}\\}`, 'g'); marks.lastIndex = begin.lastIndex;
  for (let depth = 1, next; (next = marks.exec(src)) && marks.lastIndex <= posMax; ) {
    depth += next[1] === 'begin' ? 1 : -1;
    if (!depth) return { name: found[1], end: marks.lastIndex };
  }
  return { name: found[1], end: endless(state, found[1]) };
}
const INLINE_ENVIRONMENT = /matrix|^cases|^array|^aligned|^gathered|^subarray|^[dr]cases/;
function push(state, source, display, pos) {
  const token = state.push('formula', 'span', 0);
  token.content = source; token.meta = { display };
  state.pos = pos;
  return true;
}
function inlineMaths(state, silent) {
  const { src, pos, posMax } = state, sign = src[pos];
  if (sign === '\\') {
    const next = src[pos + 1];
    if (next === '(' || next === '[') {
      const close = closingOnce(state, next === '(' ? '\\)' : '\\]', pos + 2);
      if (close < 0) return silent ? false : stillOpen(state, pos, pos + 2);
      if (!src.slice(pos + 2, close).trim()) return false;
      return silent ? ((state.pos = close + 2), true) : push(state, src.slice(pos + 2, close), next === '[', close + 2);
    }
    const environment = environmentAt(state, pos);
    if (!environment) return false;
    if (environment.end < 0) return silent ? false : stillOpen(state, pos, pos);
    return silent ? ((state.pos = environment.end), true) : push(state, src.slice(pos, environment.end), !INLINE_ENVIRONMENT.test(environment.name), environment.end);
  }
  if (sign !== '$') return false;
  if (src[pos + 1] === '$') {
    const close = closingOnce(state, '$$', pos + 2);
    if (close > pos + 2 && src.slice(pos + 2, close).trim()) return silent ? ((state.pos = close + 2), true) : push(state, src.slice(pos + 2, close), true, close + 2);
    if (close < 0 && !silent && stillOpen(state, pos, pos + 2)) return true;
    if (!silent) state.pending += '$$';
    state.pos += 2; // and never the opening of an inline formula
    return true;
  }
  const found = without(state, '$') ? -1 : inlineDollars(state);
  if (found < 0) return false;
  return silent ? ((state.pos = found + 1), true) : push(state, src.slice(pos + 1, found), false, found + 1);
}
function inlineDollars(state) { // where the formula that opens here closes, or -1
  const { src, pos } = state, close = closingOnce(state, '$', pos + 1);
  if (close < 0 || close - pos > MAX_TEX_CHARS || src[close + 1] === '$') return -1;
  const inner = src.slice(pos + 1, close);
  return !inner.includes('`') && isFormula(inner, src[pos - 1] || '', src[close + 1] || '') ? close : -1;
}
// The last formula of an answer in the making, whose end has not come: its source, faint, until it is drawn.
function stillOpen(state, pos, from) {
  if (!state.env.growing || state.level > 0 || state.posMax !== state.src.length || !state.env.isLast?.(state.src)) return false;
  const token = state.push('formula_open', 'span', 0);
  token.content = state.src.slice(from); state.pos = state.posMax;
  return true;
}

// ---- blocks: $$ … $$, \[ … \], \begin … \end on lines of their own, blank lines in them, too
function lineText(state, line) { return state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]); }
const CLOSERS = { '$$': '$$', '\\[': '\\]' };
function blockMaths(state, startLine, endLine, silent) {
  if (state.sCount[startLine] - state.blkIndent >= 4) return false;
  const first = lineText(state, startLine);
  const mark = first.startsWith('$$') ? '$$' : first.startsWith('\\[') ? '\\[' : null;
  let name = null;
  if (!mark) {
    const begin = /^\\begin\s*\{([A-Za-z]+\*?)\}/.exec(first);
    if (!begin || !ENVIRONMENTS.has(begin[1])) return false;
    name = begin[1];
  }
  if ((name || !state.env.growing) && without(state, mark || name)) return false;
  const lines = [];
  let depth = 0, left = false;
  for (let line = startLine; line < endLine; line++) {
    if (line > startLine && state.sCount[line] < state.blkIndent && state.sCount[line] >= 0 && !state.isEmpty(line)) { left = true; break; } // left its list item or quote
    const text = lineText(state, line), inner = line === startLine && mark ? text.slice(2) : text;
    let end = -1, rest = '';
    if (mark) {
      end = closing(inner, CLOSERS[mark], 0, inner.length);
      if (end >= 0) rest = inner.slice(end + 2);
    } else {
      const marks = new RegExp(`\\\\(begin|end)\\s*\\{${name.replace('*', '\\*')}\\}`, 'g');
      for (let found; (found = marks.exec(inner)); ) {
        depth += found[1] === 'begin' ? 1 : -1;
        if (!depth) { end = marks.lastIndex; rest = inner.slice(end); break; }
      }
    }
    if (end < 0) { lines.push(inner); continue; }
    if (rest.trim() && !/^\s*[.,;:。，；：]?\s*(?:\\tag\{[^}]*\}|\([\w.]+\))?\s*$/.test(rest)) return false; // text goes on behind it: inline
    lines.push(inner.slice(0, end));
    const source = lines.join('\n');
    if (!source.trim()) return false;
    if (silent) return true;
    const token = state.push('formula_block', 'div', 0);
    token.block = true; token.content = source + (/\\tag/.test(rest) ? rest : ''); token.map = [startLine, line + 1]; token.meta = { after: /\\tag/.test(rest) ? '' : rest.trim() };
    state.line = line + 1;
    return true;
  }
  if (!left) endless(state, mark || name);
  if (!state.env.growing || !mark || endLine < state.lineMax) return false;
  if (silent) return true;
  const token = state.push('formula_block_open', 'div', 0); // of an answer in the making: the end is still to come
  token.block = true; token.content = lines.join('\n'); token.map = [startLine, endLine];
  state.line = endLine;
  return true;
}

// A paragraph in which a formula opens at a line's end: its next lines are TeX, whatever else their first sign begins in Markdown.
function paragraphWithMaths(state, startLine, endLine) {
  const rules = state.md.block.ruler.getRules('paragraph'), parent = state.parentType;
  let open = opens('', lineText(state, startLine));
  if (!open) return false;
  let line = startLine + 1, ends = -1;
  for (let ahead = line; ahead < endLine && ahead < startLine + 200 && !state.isEmpty(ahead); ahead++) {
    open = opens(open, lineText(state, ahead));
    if (!open) { ends = ahead; break; }
  }
  if (ends < 0) return false;
  line = ends + 1;
  state.parentType = 'paragraph';
  for (; line < endLine && !state.isEmpty(line); line++) {
    if (state.sCount[line] - state.blkIndent > 3 || state.sCount[line] < 0) continue;
    if (rules.some((rule) => rule(state, line, endLine, true))) break;
  }
  state.parentType = parent;
  const content = state.getLines(startLine, line, state.blkIndent, false).trim();
  state.line = line;
  state.push('paragraph_open', 'p', 1).map = [startLine, line];
  const inline = state.push('inline', '', 0);
  inline.content = content; inline.map = [startLine, line]; inline.children = [];
  state.push('paragraph_close', 'p', -1);
  return true;
}
function opens(open, text) { // the delimiter that is open after a line
  for (let at = 0; at < text.length; ) {
    if (open) {
      const end = closing(text, CLOSERS[open], at, text.length);
      if (end < 0) return open;
      at = end + 2; open = '';
      continue;
    }
    if (text[at] === '`') { const run = /^`+/.exec(text.slice(at))[0], end = text.indexOf(run, at + run.length); at = end < 0 ? at + run.length : end + run.length; continue; }
    if (text.startsWith('$$', at) || text.startsWith('\\[', at)) { open = text.slice(at, at + 2); at += 2; continue; }
    at += text[at] === '\\' ? 2 : 1;
  }
  return open;
}

function maths(md) {
  md.inline.ruler.before('escape', 'maths', inlineMaths);
  md.block.ruler.before('fence', 'maths', blockMaths, { alt: ['paragraph', 'reference', 'blockquote', 'list'] });
  md.block.ruler.before('lheading', 'paragraph_with_maths', paragraphWithMaths);
  const rules = md.renderer.rules;
  rules.formula = (tokens, i) => formula(tokens[i].content, tokens[i].meta.display);
  rules.formula_open = rules.formula_block_open = (tokens, i) => `<code class="tex open" dir="ltr">${escapeHtml(tokens[i].content.trim().replace(/[$\\]$/, ''))}</code>`;
  rules.formula_block = (tokens, i) => formula(tokens[i].content, true) + escapeHtml(tokens[i].meta.after);
}
