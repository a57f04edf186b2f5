// Hands a file to the visitor. value = { nonce, name, text, type }; each nonce is saved once. What is Markdown in a page is drawn before.
let saved = null;
watch('value', async () => {
  const f = props.value; if (!f || f.nonce === saved) return;
  saved = f.nonce;
  playground.save(f.name, f.type === 'text/html' ? await playground.drawnPage(f.text) : f.text, f.type);
});
