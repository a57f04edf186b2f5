// The tools of a chat. value = a kit { specs: [{ tool, by, policy, on, url, … }], choice, name, parallel, rounds }. Every change makes a
// new value, which goes to the server with the next question.
const root = element.querySelector('.tool-list'), words = props.words;
const made = (tag, set = {}, ...inside) => { const e = document.createElement(tag); Object.assign(e, set); e.append(...inside); return e; };
const fill = (sentence, name) => sentence.replace('{name}', name);
let drawn = null;
function change(edit) {
  const kit = structuredClone(props.value || { specs: [] });
  edit(kit); props.value = kit; trigger('change'); draw();
}
function choice(label, options, value, set) {
  const box = made('select', { onchange: () => set(box.value) });
  box.setAttribute('aria-label', label);
  for (const [name, text] of options) box.append(made('option', { value: name, textContent: text, selected: name === value }));
  return box;
}
function row(spec, place) {
  const name = spec.tool.name, at = (edit) => change((kit) => edit(kit.specs[place], kit));
  const on = made('input', { type: 'checkbox', checked: spec.on !== false, onchange: () => at((s) => { s.on = on.checked; }) });
  on.setAttribute('aria-label', fill(words.on, name));
  const head = made('div', { className: 'tool-head' }, made('label', {}, on, made('b', { textContent: name })));
  head.append(made('span', { className: 'grow' }));
  head.append(made('button', { type: 'button', className: 'plain', textContent: words.edit, onclick: () => playground.editTool(spec) }));
  head.append(made('button', { type: 'button', className: 'plain', textContent: words.remove, onclick: () => change((kit) => kit.specs.splice(place, 1)) }));
  const by = spec.by || 'hand';
  const own = by === 'built_in' || by === 'mcp' ? [by] : spec.url ? ['http', 'hand'] : ['hand'];
  const who = choice(fill(words.who, name), own.map((w) => [w, words.by[w]]), by, (value) => at((s) => { s.by = value; }));
  const set = made('div', { className: 'tool-set' }, who);
  if (by !== 'hand') set.append(choice(fill(words.when, name), Object.entries(words.policies), spec.policy || 'ask', (value) => at((s) => { s.policy = value; })));
  const says = made('p', { textContent: spec.tool.description || '', title: spec.tool.description || '' });
  const item = made('div', { className: 'tool' }, head, says, set);
  if (spec.on === false) item.classList.add('off');
  return item;
}
function foot(kit) {
  const names = kit.specs.filter((s) => s.on !== false).map((s) => s.tool.name);
  const options = [...Object.entries(words.choices), ...names.map((n) => [`named:${n}`, fill(words.choice_named, n)])];
  const value = kit.choice === 'named' ? `named:${kit.name}` : kit.choice || 'auto';
  const pick = choice(words.choice, options, value, (v) => change((k) => { const named = v.startsWith('named:'); k.choice = named ? 'named' : v; k.name = named ? v.slice(6) : null; }));
  pick.id = 'tool-choice';
  const several = made('input', { type: 'checkbox', checked: kit.parallel !== false && kit.parallel != null, onchange: () => change((k) => { k.parallel = several.checked ? true : null; }) });
  const rounds = made('input', { type: 'number', min: 1, max: 32, value: kit.rounds || 8, onchange: () => change((k) => { k.rounds = Math.min(32, Math.max(1, Math.round(+rounds.value) || 8)); }) });
  rounds.id = 'tool-rounds';
  const left = made('label', {}, made('span', { textContent: words.choice }), pick);
  return made('div', { className: 'tool-foot' }, left, made('label', {}, several, made('span', { textContent: words.parallel })), made('label', {}, rounds, made('span', { textContent: words.rounds })));
}
function draw() {
  const kit = props.value && props.value.specs ? props.value : { specs: [] }, key = JSON.stringify(kit);
  if (key === drawn) return;
  drawn = key;
  root.textContent = '';
  if (!kit.specs.length) { root.append(made('p', { className: 'hint', textContent: words.none })); return; }
  root.append(...kit.specs.map(row), foot(kit));
}
if (element.id === 'tools' || element.closest('#tools')) {
  playground.toolPolicy = (name, policy) => change((kit) => { for (const s of kit.specs) if (s.tool.name === name) s.policy = policy; });
  playground.editTool = (spec) => {
    playground.type('#tool-definition textarea', JSON.stringify(spec.tool, null, 2));
    playground.type('#tool-url textarea, #tool-url input', spec.url || '');
  };
}
watch('value', draw);
draw();
