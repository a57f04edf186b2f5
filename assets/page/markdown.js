// Markdown as chat pages have it, to HTML that is safe by construction: raw HTML is escaped but for a closed list of tags without
// attributes, pictures become links (nothing remote loads by itself), links keep harmless schemes. Runs in the Markdown worker.
// A text becomes a list of trees: { open, parts, close }, where `open` begins one element and each part is one element, a tree or HTML; or
// { open, html, close } with what stands inside. So what changed between two states of a growing text is told without the page's DOM.
const MAX_BLOCK_CHARS = 200000; // of what is laid out as one piece: one paragraph, list, table
const MAX_COLOURED_CHARS = 100000; // of one code block, about 2,500 lines
const KEPT_CODE = 64; // code blocks whose lines are kept coloured
const TAGS = ['sub', 'sup', 'kbd', 'mark', 'u'];
const LANGUAGE_FILES = { javascript: 'js', typescript: 'ts', python: 'py', 'c++': 'cpp', cpp: 'cpp', csharp: 'cs', ruby: 'rb', rust: 'rs', kotlin: 'kt', bash: 'sh', shell: 'sh',
  markdown: 'md', plaintext: 'txt', perl: 'pl', haskell: 'hs', powershell: 'ps1', latex: 'tex', matlab: 'm', objectivec: 'm', yaml: 'yml', makefile: 'mk', julia: 'jl', elixir: 'ex',
  erlang: 'erl', clojure: 'clj', fsharp: 'fs', vbnet: 'vb', graphql: 'gql', xml: 'xml', html: 'html', mermaid: 'mmd' };

const md = vendor.markdownit('default', { html: false, linkify: true, breaks: true, typographer: false });
md.use(vendor.cjkFriendly).use(vendor.footnote).use(maths);
md.disable(['footnote_inline']); // x^[2] is more often an index
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false }); // main.py, setup.sh and node.js end as countries' domains do

// ---- addresses end where CJK punctuation begins
const AFTER_ADDRESS = /[，。、；：？！（）「」『』【】《》〈〉“”‘’…～｜\u3000]/;
const stock = new vendor.LinkifyIt();
for (const scheme of ['http:', 'https:', 'ftp:']) {
  md.linkify.add(scheme, { validate: (text, pos) => {
    const length = stock.testSchemaAt(text, scheme, pos), end = length ? text.slice(pos, pos + length).search(AFTER_ADDRESS) : -1;
    return end < 0 ? length : end > 2 ? end : 0;
  } });
}

// ---- bold and italics beside punctuation, as models write them in every language: **Note:**text, **Bước 1:**Mở. CJK is the plugin's.
const ENDS_BOLD = /[\p{P}\p{S}]/u, ENDS_ITALICS = /[:：.,!?;…。，！？；"”’]/, GOES_ON = /[\p{L}\p{N}]/u;
const Inline = md.inline.State;
md.inline.State = class extends Inline {
  scanDelims(start, canSplitWord) {
    const found = super.scanDelims(start, canSplitWord);
    if (found.can_close || this.src[start] !== '*' || start === 0) return found;
    const before = this.src[start - 1], after = this.src[start + found.length] || '';
    if (GOES_ON.test(after) && (found.length >= 2 ? ENDS_BOLD : ENDS_ITALICS).test(before)) found.can_close = true;
    return found;
  }
};

// ---- harmless tags
md.inline.ruler.before('autolink', 'harmless_tags', (state, silent) => {
  if (state.src[state.pos] !== '<') return false;
  const rest = state.src.slice(state.pos, state.posMax), line = /^<br\s*\/?>/i.exec(rest);
  if (line) { if (!silent) state.push('hardbreak', 'br', 0); state.pos += line[0].length; return true; }
  const open = /^<(sub|sup|kbd|mark|u)>/i.exec(rest);
  if (!open) return false;
  const tag = open[1].toLowerCase(), never = (state.never ??= new Set()); // of a tag without an end none after it has one
  if (never.has(tag)) return false;
  const marks = new RegExp(`<(/?)${tag}>`, 'gi'); marks.lastIndex = open[0].length;
  let depth = 1, end = null;
  for (let found; depth && (found = marks.exec(rest)); end = found) depth += found[1] ? -1 : 1;
  if (depth) never.add(tag);
  if (depth || state.level > 50) return false;
  if (!silent) {
    const from = state.pos, max = state.posMax, inner = from + open[0].length;
    state.push('tag_open', tag, 1);
    state.pos = inner; state.posMax = from + end.index;
    state.linkLevel++; // no link begins inside and ends outside
    state.md.inline.tokenize(state);
    state.linkLevel--;
    state.push('tag_close', tag, -1);
    state.posMax = max; state.pos = from;
  }
  state.pos += end.index + end[0].length;
  return true;
});
const MAX_DETAILS = 20; // one in another
// <details>, <summary>: each on a line of its own or together, Markdown inside
md.block.ruler.before('html_block', 'details', (state, startLine, endLine, silent) => {
  if (state.sCount[startLine] - state.blkIndent >= 4) return false;
  const text = (line) => state.src.slice(state.bMarks[line] + state.tShift[line], state.eMarks[line]);
  if (!/^<details>\s*(?:<summary>|$)/i.test(text(startLine)) || state.neverDetails || (state.env.details || 0) >= MAX_DETAILS) return false;
  let depth = 0, line = startLine, ended = false;
  for (; line < endLine; line++) {
    if (state.sCount[line] < state.blkIndent && !state.isEmpty(line)) break;
    const marks = text(line).match(/<\/?details>/gi) || [];
    for (const mark of marks) depth += mark[1] === '/' ? -1 : 1;
    if (depth <= 0 && marks.length) { ended = true; break; }
  }
  if (!ended && !state.env.growing) { state.neverDetails = true; return false; }
  if (ended && !/<\/details>\s*$/i.test(text(line))) return false;
  if (silent) return true;
  const last = ended ? line : line - 1;
  const inside = state.getLines(startLine, last + 1, state.blkIndent, false).replace(/^\s*<details>/i, '').replace(/<\/details>\s*$/i, '');
  const summary = /^\s*<summary>([\s\S]*?)<\/summary>/i.exec(inside);
  const open = state.push('details_open', 'details', 1); open.block = true; open.map = [startLine, last + 1];
  state.push('summary_open', 'summary', 1);
  const inline = state.push('inline', '', 0); inline.content = (summary ? summary[1] : '').trim(); inline.map = [startLine, startLine + 1]; inline.children = [];
  state.push('summary_close', 'summary', -1);
  const blocks = [];
  state.env.details = (state.env.details || 0) + 1;
  state.md.block.parse(summary ? inside.slice(summary[0].length) : inside.replace(/^\s*<summary>/i, ''), state.md, state.env, blocks);
  state.env.details -= 1;
  for (const token of blocks) { token.level += state.level; state.tokens.push(token); }
  const close = state.push('details_close', 'details', -1); close.block = true;
  state.line = last + 1;
  return true;
}, { alt: ['paragraph', 'reference', 'blockquote'] });

// ---- tables: a bar inside a formula is no border of a cell, nor is one in code where the row would else have a cell too many
const BAR = '\uE07C'; // stands for it while the row is cut; of a private range, so that nobody writes it
const tableRule = md.block.ruler.__rules__.find((rule) => rule.name === 'table').fn;
const cells = (row) => row.trim().replace(/^\||(?<!\\)\|$/g, '').split(/(?<!\\)\|/).length;
function hideBars(row, columns) {
  const hidden = row.replace(/\$[^$\n`]*\|[^$\n`]*\$/g, (found, at) => (isFormula(found.slice(1, -1), row[at - 1] || '', row[at + found.length] || '') && BARS_OF_FORMULA.test(found) ? found.replace(/\|/g, BAR) : found));
  return cells(hidden) > columns ? hidden.replace(/(`+)(?!`)[^\n]*?[^`]\1(?!`)/g, (code) => code.replace(/(?<!\\)\|/g, BAR)) : hidden;
}
const BARS_OF_FORMULA = /\\|[\^_]|^\$\|?[^|]*\|[^|]*\|?\$$/;
md.block.ruler.at('table', (state, startLine, endLine, silent) => {
  const border = startLine + 1 < endLine ? state.src.slice(state.bMarks[startLine + 1], state.eMarks[startLine + 1]) : '';
  if (silent || !/^[ \t>]*[-:|][-:| \t]*$/.test(border) || !border.includes('|')) return tableRule(state, startLine, endLine, silent);
  let last = startLine;
  while (last < endLine && !state.isEmpty(last)) last++;
  const { src: source, bMarks: { [startLine]: from } } = state, rows = source.slice(from, state.eMarks[last - 1]).split('\n');
  const columns = cells(rows[0]), first = state.tokens.length;
  const hidden = rows.map((row) => (row.includes('$') || row.includes('`') ? hideBars(row, columns) : row)).join('\n');
  state.src = source.slice(0, from) + hidden + source.slice(from + hidden.length);
  const made = tableRule(state, startLine, endLine, silent);
  state.src = source;
  for (const token of state.tokens.slice(first)) if (token.content) token.content = token.content.replaceAll(BAR, '|');
  return made;
}, { alt: ['paragraph', 'reference'] });

// ---- task lists
md.core.ruler.after('inline', 'task_lists', (state) => {
  for (let i = 2; i < state.tokens.length; i++) {
    const token = state.tokens[i];
    if (token.type !== 'inline' || state.tokens[i - 1].type !== 'paragraph_open' || state.tokens[i - 2].type !== 'list_item_open') continue;
    const first = token.children[0], mark = first?.type === 'text' && /^\[([ xX])\](?:\s+|$)/.exec(first.content);
    if (!mark) continue;
    first.content = first.content.slice(mark[0].length);
    const box = new state.Token('task', 'input', 0); box.meta = { done: mark[1] !== ' ' };
    token.children.unshift(box);
    state.tokens[i - 2].attrJoin('class', 'task');
  }
});

// ---- how it is written out
const rules = md.renderer.rules;
const LINK = ' rel="noopener noreferrer nofollow" target="_blank"';
rules.task = (tokens, i) => `<input type="checkbox" disabled${tokens[i].meta.done ? ' checked' : ''}> `;
rules.tag_open = (tokens, i) => `<${tokens[i].tag}>`;
rules.tag_close = (tokens, i) => `</${tokens[i].tag}>`;
rules.link_open = (tokens, i) => {
  const address = tokens[i].attrGet('href') || '', title = tokens[i].attrGet('title');
  // an address of this page's own host would open the playground itself: what a model means by it is not here
  return /^(?:https?|ftp|mailto|tel):/i.test(address) ? `<a href="${escapeHtml(address)}"${title ? ` title="${escapeHtml(title)}"` : ''}${LINK}>` : `<a title="${escapeHtml(address)}">`;
};
rules.image = (tokens, i, options, env, self) => {
  const address = tokens[i].attrGet('src') || '', words = self.renderInlineAsText(tokens[i].children || [], options, env) || address;
  return /^https?:/i.test(address) ? `<a href="${escapeHtml(address)}"${LINK}>${escapeHtml(words)}</a>` : escapeHtml(words);
};
rules.code_inline = (tokens, i) => `<code dir="ltr">${escapeHtml(tokens[i].content)}</code>`;
rules.footnote_ref = (tokens, i) => `<sup class="note-ref"><a data-note="${tokens[i].meta.id + 1}" role="button" tabindex="0">${tokens[i].meta.id + 1}</a></sup>`;
rules.footnote_anchor = () => '';
rules.footnote_block_open = () => '<ol>';
rules.footnote_open = (tokens, i) => `<li data-note-id="${tokens[i].meta.id + 1}">`;
const SIDED = new Set(['p', 'li', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'td', 'th', 'blockquote', 'summary']);
md.core.ruler.push('sides', (state) => { for (const token of state.tokens) if (token.nesting === 1 && SIDED.has(token.tag)) token.attrSet('dir', 'auto'); });

// ---- code
const coloured = new Map(); // language and beginning of a code block -> { code, lines }
function codeLines(code, language, grows) {
  const name = self.hljs?.getLanguage(language) ? language : '';
  if (!name || code.length > MAX_COLOURED_CHARS) return escapeHtml(code).match(/[^\n]*\n|[^\n]+$/g) || [];
  const key = `${name}\n${code.slice(0, 200)}`, known = coloured.get(key);
  if (known && known.code === code) return known.lines;
  const fresh = known && code.startsWith(known.code) ? code.length - known.code.length : Infinity;
  if (grows && fresh < known?.code.length / 8) { // coloured again each time it has grown by an eighth: what is new meanwhile is plain
    const whole = known.code.lastIndexOf('\n') + 1;
    return [...known.lines.slice(0, known.code.slice(0, whole).split('\n').length - 1), ...(escapeHtml(code.slice(whole)).match(/[^\n]*\n|[^\n]+$/g) || [])];
  }
  const lines = cutLines(hljs.highlight(code, { language: name, ignoreIllegals: true }).value);
  coloured.delete(key); coloured.set(key, { code, lines });
  if (coloured.size > KEPT_CODE) coloured.delete(coloured.keys().next().value);
  return lines;
}
function cutLines(html) { // each line whole by itself: what is open at its end is closed there and opened again in the next
  const open = [];
  return (html.match(/[^\n]*\n|[^\n]+$/g) || []).map((line) => {
    const before = open.join('');
    for (const tag of line.match(/<span[^>]*>|<\/span>/g) || []) if (tag[1] === '/') open.pop(); else open.push(tag);
    return before + line + '</span>'.repeat(open.length);
  });
}
function codeTree(token, grows) {
  const info = token.info ? md.utils.unescapeAll(token.info).trim().split(/\s+/)[0] : '', code = token.content.endsWith('\n') ? token.content : token.content + (token.content ? '\n' : '');
  if (info.toLowerCase() === 'math' && !grows) return { open: '<div dir="ltr">', html: formula(code, true), close: '</div>' };
  const language = info.replace(/^\{?\.?|\}$/g, '').toLowerCase();
  if (language && !self.hljs) self.loadHighlight?.();
  const shown = self.hljs?.getLanguage(language)?.name || info;
  const lines = codeLines(code, language, grows);
  const button = (what) => `<button type="button" data-code="${what}">${words[what]}</button>`;
  const file = LANGUAGE_FILES[language] || (/^[a-z0-9]{1,8}$/.test(language) ? language : 'txt');
  const bar = `<div class="code-bar"><span>${escapeHtml(shown)}</span>${language === 'mermaid' && !grows ? button('draw') : ''}${button('wrap')}${button('download')}${button('copy')}</div>`;
  return { open: `<div class="code" dir="ltr" data-file="${file}">`, close: '</div>', parts: [bar,
    { open: '<pre>', close: '</pre>', parts: [{ open: '<code>', close: '</code>', parts: lines.map((line) => `<span>${line}</span>`) }] }] };
}
let words = { copy: 'Copy', wrap: 'Wrap', download: 'Download', draw: 'Draw' };

// ---- trees
const html = (tree) => (typeof tree === 'string' ? tree : tree.open + (tree.parts ? tree.parts.map(html).join('') : tree.html) + tree.close);
const WRAPPED = { table_open: '<div class="table" tabindex="0">', footnote_block_open: '<section class="notes">' }; // in a second element, which scrolls or names it
function trees(tokens, env) {
  const top = { parts: [] }, stack = [top];
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i], around = stack[stack.length - 1];
    if (token.nesting === 1) {
      if (token.hidden) { token.hidden = false; token.attrJoin('class', 'tight'); } // of a tight list: an element as all others, so that it can be told apart
      const tree = { open: written(tokens, i, env), parts: [], close: `</${token.type === 'footnote_block_open' ? 'ol' : token.type === 'footnote_open' ? 'li' : token.tag}>` };
      const wrap = WRAPPED[token.type];
      around.parts.push(wrap ? { open: wrap, parts: [tree], close: wrap.startsWith('<div') ? '</div>' : '</section>' } : tree);
      stack.push(tree);
    } else if (token.nesting === -1) stack.pop();
    else if (token.type === 'inline') inlineInto(around, token.children, env);
    else if (token.type === 'fence' || token.type === 'code_block') around.parts.push(codeTree(token, env.growing && i >= env.last));
    else if (token.type.startsWith('formula_block')) around.parts.push({ open: '<div class="formula-block">', html: rules[token.type](tokens, i), close: '</div>' });
    else { const made = written(tokens, i, env); if (made) around.parts.push(made); }
  }
  return top.parts;
}
// The words of a paragraph: HTML, or where they are many, pieces of it, so that what grows at the end leaves those before alone.
const PIECE_CHARS = 2000;
function inlineInto(tree, tokens, env) {
  const pieces = [];
  let from = 0, depth = 0, chars = 0;
  for (let i = 0; i < tokens.length; i++) {
    depth += tokens[i].nesting; chars += tokens[i].content.length + 20;
    if (depth || chars < PIECE_CHARS || i + 1 === tokens.length) continue;
    pieces.push(tokens.slice(from, i + 1)); from = i + 1; chars = 0;
  }
  if (!pieces.length) { tree.html = md.renderer.renderInline(tokens, md.options, env); delete tree.parts; return; }
  for (const piece of [...pieces, tokens.slice(from)]) tree.parts.push(`<span>${md.renderer.renderInline(piece, md.options, env)}</span>`);
}
const written = (tokens, i, env) => (rules[tokens[i].type] ? rules[tokens[i].type](tokens, i, md.options, env, md.renderer) : md.renderer.renderToken(tokens, i, md.options)).trim();

// A text as trees with the line that each begins in: [{ tree, line }], notes last, without a line. The time is looked at between blocks: what
// is left at `untilMs` is shown as it was written (a single step that takes for ever is ended from outside, by drawing.js).
const later = () => md.core.ruler.__rules__.filter(({ name, enabled }) => enabled && !['normalize', 'block', 'footnote_tail'].includes(name)).map(({ fn }) => fn);
const notes = md.core.ruler.__rules__.find(({ name }) => name === 'footnote_tail').fn;
function laidOut(text, env, untilMs = Infinity) {
  const { growing } = env, tokens = [], groups = [], blocks = [];
  md.block.parse(text, md, env, tokens);
  for (let first = 0, i = 0; i < tokens.length; i++) if (!tokens[i].level && tokens[i].nesting <= 0) { groups.push(tokens.slice(first, i + 1)); first = i + 1; }
  const ready = [], rules = later();
  let cut = null;
  for (const [i, own] of groups.entries()) {
    if (performance.now() > untilMs) { cut = own[0].map[0]; break; }
    env.growing = growing && i === groups.length - 1;
    const state = new md.core.State(text, md, env);
    state.tokens = own;
    for (const rule of rules) rule(state);
    ready.push(...state.tokens);
  }
  env.growing = growing;
  const state = new md.core.State(text, md, env);
  state.tokens = ready;
  if (env.footnotes) notes(state);
  for (let first = 0, i = 0; i < state.tokens.length; i++) {
    if (state.tokens[i].level || state.tokens[i].nesting > 0) continue;
    const own = state.tokens.slice(first, i + 1), line = own[0].map ? own[0].map[0] : null;
    if (line !== null && performance.now() > untilMs) { cut = Math.min(line, cut ?? line); break; }
    env.last = i === state.tokens.length - 1 ? own.length - 1 : Infinity;
    for (const tree of trees(own, env)) blocks.push({ tree, line });
    first = i + 1;
  }
  if (cut !== null) blocks.push({ tree: plain(text.split('\n').slice(cut).join('\n')), line: cut });
  return blocks.filter(({ tree }) => tree);
}
const TEXT_MS = 1500; // for one text: beyond that it is shown as it was written
const plain = (text) => (text.trim() ? `<pre class="plain" dir="auto">${escapeHtml(text)}</pre>` : '');
const whole = (text) => text.replace(/\r\n?/g, '\n').replace(/\0/g, '\ufffd');
// A finished text as HTML, a string for each block.
function finished(text) {
  text = whole(text);
  if (longestBlock(text) > MAX_BLOCK_CHARS) return [plain(text)].filter(Boolean);
  return laidOut(text, {}, performance.now() + TEXT_MS).map(({ tree }) => html(tree));
}
const longestBlock = (text) => { let longest = 0, from = 0; for (let at; (at = text.indexOf('\n\n', from)) >= 0; from = at + 2) longest = Math.max(longest, at - from); return Math.max(longest, text.length - from); };
// What a person wrote: as it was written, but code in fences as code.
function fenced(text) {
  const env = {}, lines = whole(text).split('\n'), out = [], said = [];
  const flush = () => { const words = said.splice(0).join('\n').replace(/^\n+|\s+$/g, ''); if (words) out.push(`<div class="said" dir="auto">${escapeHtml(words)}</div>`); };
  for (let at = 0; at < lines.length; at++) {
    const open = /^ {0,3}(`{3,}|~{3,})([^`]*)$/.exec(lines[at]);
    const close = open ? lines.findIndex((line, i) => i > at && new RegExp(`^ {0,3}${open[1][0]}{${open[1].length},}\\s*$`).test(line)) : -1;
    if (close < 0) { said.push(lines[at]); continue; }
    flush();
    out.push(html(codeTree({ info: open[2], content: lines.slice(at + 1, close).join('\n') }, true)));
    at = close;
  }
  flush();
  return out;
}
