// Hands a file to the visitor. value = { nonce, name, text, type }; each nonce is saved once.
let saved = null;
watch('value', () => { const f = props.value; if (f && f.nonce !== saved) { saved = f.nonce; playground.save(f.name, f.text, f.type); } });
