// Frame behaviour that needs no server: theme, tabs, panels, sheets, keys. Runs in <head>, so it only delegates.
(() => {
  const body = () => document.body;
  const click = (id) => { const e = document.querySelector(`#${id}`); const b = e && (e.matches('button') ? e : e.querySelector('button')); if (b && !b.disabled) b.click(); return !!b; };
  const phone = () => matchMedia('(max-width: 768px)').matches;
  // in a frame of another site a browser may deny storage; gradio's own script would then never get past "Loading"
  try { void localStorage.length; } catch {
    const kept = new Map();
    const storage = { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => void kept.set(k, String(v)), removeItem: (k) => void kept.delete(k),
      clear: () => kept.clear(), key: (n) => [...kept.keys()][n] ?? null, get length() { return kept.size; } };
    Object.defineProperty(window, "localStorage", { value: storage });
  }
  const store = { get: (k) => { try { return localStorage.getItem(k); } catch { return null; } }, set: (k, v) => { try { localStorage.setItem(k, v); } catch { /* private mode */ } } };
  const dark = (on) => { body().classList.toggle('dark', on); store.set('qnp-theme', on ? 'dark' : 'light'); };
  const sheet = (name) => { if (body().dataset.sheet === name || !name) delete body().dataset.sheet; else body().dataset.sheet = name; };
  const side = (name) => { if (phone()) return sheet(name); if (body().dataset[name] === 'off') delete body().dataset[name]; else body().dataset[name] = 'off'; };
  const panel = (name) => { if (name) body().dataset.panel = name; else delete body().dataset.panel; delete body().dataset.right; if (phone() && body().dataset.sheet !== 'right') sheet('right'); };
  window.playground = {
    panel, sheet, click,
    config: PLAYGROUND_CONFIG, // { version, code, shared }: of the files beside the page, the words of a code block's buttons, whether the network sees it
    // Twenty times a second: what is set again as it is still costs the browser a look at every element.
    set: (node, name, value) => { if (node[name] !== value) node[name] = value; },
    mark: (node, name, value) => { if (value ? node.dataset[name] !== value : name in node.dataset) { if (value) node.dataset[name] = value; else delete node.dataset[name]; } },
    running: (on) => playground.mark(body(), 'running', on ? 'on' : ''),
    // Sets a text box of Gradio's the way a person would, so that its own state follows.
    type: (selector, text) => { const box = document.querySelector(selector); if (!box) return; Object.getOwnPropertyDescriptor(box.constructor.prototype, 'value').set.call(box, text); box.dispatchEvent(new Event('input', { bubbles: true })); box.focus(); },
    requestAgain: () => { if (body().dataset.panel === 'request') click('show-request'); }, // what it shows was another chat's or model's
    copy: async (text, button) => {
      const say = button && button.textContent;
      try { await navigator.clipboard.writeText(text); }
      catch { const t = document.createElement('textarea'); t.value = text; document.body.append(t); t.select(); document.execCommand('copy'); t.remove(); }
      if (button) { button.textContent = button.dataset.copied || 'Copied'; setTimeout(() => { button.textContent = say; }, 1200); }
    },
    address: (name, value) => { const u = new URL(location.href); if (value) u.searchParams.set(name, value); else u.searchParams.delete(name); history.replaceState(null, '', u); },
    chat: (id) => playground.address('chat', id),
    tab: (name) => { if (name) body().dataset.tab = name; else delete body().dataset.tab; playground.address('tab', name); if (name === 'compare') document.querySelector('#compare-prompt textarea')?.focus({ preventScroll: true }); },
    save: (name, text, type) => { const a = document.createElement('a'); a.href = URL.createObjectURL(new Blob([text], { type })); a.download = name; a.click(); setTimeout(() => URL.revokeObjectURL(a.href), 10000); },
  };
  const ready = (act) => { if (document.readyState === 'loading') addEventListener('DOMContentLoaded', act); else act(); }; // gradio may put this in late
  ready(() => {
    const wish = new URLSearchParams(location.search).get('__theme') || store.get('qnp-theme');
    const apply = () => { if (wish) body().classList.toggle('dark', wish === 'dark'); };
    playground.tab(new URLSearchParams(location.search).get('tab') || ''); if (playground.config.shared) body().dataset.shared = 'on';
    apply(); setTimeout(apply, 600); // Gradio sets its own theme class once while it mounts
  });
  document.addEventListener('click', (e) => {
    const at = (selector) => e.target.closest(selector);
    if (at('#theme')) dark(!body().classList.contains('dark'));
    else if (at('#tab-chat')) playground.tab('');
    else if (at('#tab-compare')) playground.tab('compare');
    else if (at('#tab-about')) playground.tab('about');
    else if (at('#about-here')) { playground.tab('about'); sheet(); }
    else if (at('#open-left')) side('left');
    else if (at('#open-right')) side('right');
    else if (at('#shade')) sheet();
    else if (at('#seg-parameters')) panel();
    else if (at('#show-request')) panel('request');
    else if (at('#seg-tools')) panel('tools');
    else if (at('#seg-connect')) panel('connect');
    else if (at('#jump')) { const s = document.querySelector('#scroll'); s.scrollTop = s.scrollHeight; }
    if (phone() && (at('#new-chat') || at('.chat-entry > button.open'))) sheet();
    for (const menu of document.querySelectorAll('.menu:not(.pane-menu)')) if (!menu.parentElement.contains(e.target)) menu.remove();
  });
  const escape = () => { const c = document.querySelector('#compare'); if (c.dataset.running) return click('compare-stop'); (document.querySelector('#compare[data-drawer=open] [data-compare=close]') || document.querySelector('.pane[data-grown] [data-compare=grow]'))?.click(); };
  const keys = [
    [(e) => e.key === 'Escape', () => (body().dataset.tab === 'compare' ? escape() : body().dataset.running && click('stop'))],
    [(e) => e.ctrlKey && e.shiftKey && e.key.toLowerCase() === 'o', () => click('new-chat')],
    [(e) => (e.ctrlKey || e.metaKey) && !e.shiftKey && e.key.toLowerCase() === 'k', () => { delete body().dataset.left; if (phone()) sheet('left'); document.querySelector('#history-search input, #history-search textarea')?.focus(); return true; }],
    [(e) => (e.ctrlKey || e.metaKey) && !e.shiftKey && e.key.toLowerCase() === 'b', () => { side('left'); return true; }],
    [(e) => (e.ctrlKey || e.metaKey) && e.key === '.', () => { side('right'); return true; }],
    [(e) => (e.ctrlKey || e.metaKey) && e.key === '/', () => { body().dataset.tab = 'about'; document.querySelector('#keys')?.scrollIntoView(); return true; }],
    [(e) => e.altKey && e.key.toLowerCase() === 't', () => { const all = [...document.querySelectorAll('#chat-log details.trace')]; const open = !all.some((d) => d.open); for (const d of all) d.open = open; return true; }],
    [(e) => e.altKey && e.key.toLowerCase() === 'r', () => { const b = [...document.querySelectorAll('#chat-log [data-op=regenerate]')].at(-1); b?.click(); return !!b; }],
    [(e) => e.altKey && (e.key === 'ArrowLeft' || e.key === 'ArrowRight'), (e) => { const b = [...document.querySelectorAll(`#chat-log [data-step="${e.key === 'ArrowLeft' ? -1 : 1}"]`)].at(-1); b?.click(); return !!b; }],
    [(e) => e.key === 'ArrowUp' && e.target.matches?.('#composer textarea') && !e.target.value, () => { const b = [...document.querySelectorAll('#chat-log .turn.user [data-op=edit]')].at(-1); b?.click(); return !!b; }],
  ];
  // One's own message stands in the chat the moment it is sent: the server's turn follows.
  const sending = () => {
    const box = document.querySelector('#composer textarea'), files = [...document.querySelectorAll('#composer [data-file-name]')].map((f) => f.dataset.fileName);
    if (!box || body().dataset.running || body().dataset.sending || body().dataset.tab || !(box.value.trim() || files.length)) return;
    playground.asked?.(box.value, files);
  };
  document.addEventListener('click', (e) => { if (e.target.closest('#send')) sending(); }, true);
  document.addEventListener('keydown', (e) => { if (e.key === 'Enter' && !e.shiftKey && !e.ctrlKey && !e.altKey && !e.metaKey && !e.isComposing && e.keyCode !== 229 && e.target.matches?.('#composer textarea')) sending(); }, true);
  document.addEventListener('keydown', (e) => {
    if (e.isComposing || e.keyCode === 229) { if (e.key === 'Enter') e.stopPropagation(); return; } // half a word of an input method is not a message
    for (const [is, act] of keys) if (is(e)) { if (act(e)) e.preventDefault(); return; }
  }, true);
})();
