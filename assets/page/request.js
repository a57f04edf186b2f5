// The exact request and its snippets. value = { note, parts: [{ title, text }] }; text goes through textContent.
const root = element.querySelector('.request');
let chosen = null;
function draw() {
  const v = props.value || {}; root.replaceChildren();
  const note = document.createElement('p'); note.className = 'hint'; note.textContent = v.note || ''; root.append(note);
  if (!v.parts || !v.parts.length) return;
  const bar = document.createElement('div'); bar.className = 'parts'; const box = document.createElement('div'); box.className = 'code';
  const show = (title) => {
    chosen = title; const part = v.parts.find((p) => p.title === title) || v.parts[0];
    for (const b of bar.children) b.setAttribute('aria-pressed', String(b.textContent === part.title));
    const head = document.createElement('div'); head.className = 'code-bar'; const name = document.createElement('span'); name.textContent = part.title;
    const copy = document.createElement('button'); copy.type = 'button'; copy.textContent = 'Copy'; copy.onclick = () => playground.copy(part.text, copy);
    const pre = document.createElement('pre'); const code = document.createElement('code'); code.textContent = part.text; pre.append(code);
    head.append(name, copy); box.replaceChildren(head, pre);
  };
  for (const part of v.parts) { const b = document.createElement('button'); b.type = 'button'; b.className = 'btn'; b.textContent = part.title; b.onclick = () => show(part.title); bar.append(b); }
  root.append(bar, box); show(chosen);
}
watch('value', draw);
draw();
