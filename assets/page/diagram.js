// A mermaid diagram, drawn on demand in a frame of its own: a sandbox without an origin, storage or network, which gets the vendored script as text.
// What mermaid cannot read stays code, with the reason.
(() => {
  const LIMIT_MS = 20000, MAX_PX = 1200;
  let script = null; // fetched once, when the first diagram is asked for
  const inside = `addEventListener('message', async ({ data, source }) => {
    if (source !== parent) return;
    try {
      mermaid.initialize({ startOnLoad: false, securityLevel: 'strict', theme: data.dark ? 'dark' : 'default', maxTextSize: 50000, maxEdges: 500 });
      const { svg } = await mermaid.render('diagram', data.code);
      document.body.innerHTML = svg;
      parent.postMessage({ height: document.documentElement.scrollHeight }, '*');
    } catch (error) { parent.postMessage({ failed: String(error && error.message || error).slice(0, 300) }, '*'); }
  });
  parent.postMessage({ ready: true }, '*');`;
  const page = (mermaid) => `<!doctype html><meta charset="utf-8"><style>body { margin:0; padding:12px; text-align:center; font:14px system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
    svg { max-width:100%; height:auto; }</style><body><script>${mermaid.replace(/<\/script/gi, '<\\/script')}<\/script><script>${inside}<\/script></body>`;
  playground.diagram = async (block, code) => {
    const old = block.querySelector('iframe, .hint');
    if (old) { const drawn = old.matches('iframe'); old.remove(); if (drawn) return; } // a second click puts it away
    const frame = document.createElement('iframe'), say = (problem) => { frame.remove(); const note = document.createElement('p'); note.className = 'hint'; note.textContent = problem; block.append(note); };
    frame.sandbox = 'allow-scripts'; frame.title = 'mermaid'; frame.style.height = '80px';
    block.append(frame);
    try { script ??= await (await fetch(playground.markdown.address('vendor/mermaid.min.js'))).text(); } catch { return say(playground.config.code.undrawn); }
    const late = setTimeout(() => end(playground.config.code.undrawn), LIMIT_MS);
    function end(problem) { clearTimeout(late); removeEventListener('message', told); if (problem) say(problem); }
    function told({ source, data }) {
      if (source !== frame.contentWindow) return;
      if (data.ready) frame.contentWindow.postMessage({ code, dark: document.body.classList.contains('dark') }, '*');
      else if (data.height) { frame.style.height = `${Math.min(data.height, MAX_PX)}px`; end(); }
      else end(`${playground.config.code.undrawn} ${data.failed || ''}`);
    }
    addEventListener('message', told);
    frame.srcdoc = page(script);
  };
})();
