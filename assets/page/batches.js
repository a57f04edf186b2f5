// Runs in the background: the server's HTML, whose buttons are told to it. Opened lists of left-out rows survive an update.
element.addEventListener('click', (e) => {
  const b = e.target.closest('[data-batch-op]'); if (!b) return;
  const op = b.dataset.batchOp; if (op === 'delete' && !confirm(props.words.delete_sure)) return;
  trigger('act', { op, id: b.closest('[data-batch]').dataset.batch });
});
