// The Markdown worker: texts in, HTML out, one question at a time, so that nothing a model writes holds the page. Whoever asks ends it when
// it takes too long. Questions: { kind: 'finished' | 'fenced', text }, { kind: 'grow', id, more, from, ended }; answers: { blocks } or { ops }.
importScripts('../vendor/markdown.min.js', 'maths.js', 'markdown.js', 'growing_markdown.js');
const growing = new Map();
const MAX_GROWING = 16; // answers in the making that are remembered
function loadOnce(name, ...files) { if (!self[name]) importScripts(...files); }
self.loadHighlight = () => loadOnce('hljs', '../vendor/highlight.min.js');
Object.defineProperty(self, 'katex', { configurable: true, get() { delete self.katex; importScripts('../vendor/katex/katex.min.js', '../vendor/katex/mhchem.min.js'); return self.katex; } });

const tasks = {
  finished: ({ text }) => ({ blocks: finished(text) }),
  fenced: ({ text }) => ({ blocks: fenced(text) }),
  grow({ id, from, more, ended }) {
    let view = growing.get(id);
    if (from === 0) view = { text: '', markdown: new GrowingMarkdown() };
    if (!view) throw new Error('its beginning is not known here');
    growing.delete(id); growing.set(id, view);
    if (growing.size > MAX_GROWING) growing.delete(growing.keys().next().value);
    view.text = view.text.slice(0, from) + more;
    const ops = view.markdown.update(view.text, ended);
    return ended ? { ops, blocks: view.markdown.blocks.map(html) } : { ops };
  },
};
onmessage = ({ data }) => {
  if (data.kind === 'words') { words = data.words; return postMessage({ ready: true }); }
  try { postMessage({ n: data.n, ...tasks[data.kind](data) }); } catch (error) { postMessage({ n: data.n, failed: String(error) }); }
};
