// Pairs judged with the keyboard or its buttons; the server gives the next one.
const KEYS = { ArrowLeft: 'left', ArrowRight: 'right', ArrowDown: 'tie', ArrowUp: 'bad', s: 'skip', S: 'skip', Backspace: 'back', Escape: 'close' };
let asked = null; // one verdict a pair, however fast the keys come
function say(verdict) {
  const card = element.querySelector('.judge-card'); if (!card && verdict !== 'close') return;
  const d = card?.dataset || {}, key = `${d.row}:${d.left}:${d.right}`;
  if (asked === key && verdict !== 'close') return;
  asked = key; card?.classList.add('told'); trigger('verdict', { verdict, row: d.row, left: d.left, right: d.right });
}
element.addEventListener('click', (e) => { const b = e.target.closest('[data-judge]'); if (b) say(b.dataset.judge); });
document.addEventListener('keydown', (e) => {
  if (document.body.dataset.tab !== 'compare' || document.querySelector('#compare')?.dataset.view !== 'sets' || !element.querySelector('.judge-card')) return;
  if (!(e.key in KEYS) || e.ctrlKey || e.metaKey || e.altKey || e.target.matches?.('input, textarea, select, [contenteditable]')) return;
  e.preventDefault(); e.stopPropagation(); say(KEYS[e.key]);
});
watch('value', () => { asked = null; element.querySelector('.judge-card')?.scrollIntoView({ block: 'nearest' }); });
