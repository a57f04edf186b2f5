// A page to be saved: its Markdown is drawn first, so that the file needs no script; where it holds formulas it gets KaTeX's styles and fonts, so
// that it needs no network either.
(() => {
  const asData = async (address) => new Promise((done, failed) => { fetch(address).then((r) => r.blob()).then((blob) => { const reader = new FileReader(); reader.onload = () => done(reader.result); reader.onerror = failed; reader.readAsDataURL(blob); }, failed); });
  async function katexStyles() {
    const css = await (await fetch(playground.markdown.address('vendor/katex/katex.min.css'))).text();
    const fonts = [...new Set(css.match(/fonts\/[\w-]+\.woff2/g))];
    const data = new Map(await Promise.all(fonts.map(async (font) => [font, await asData(playground.markdown.address(`vendor/katex/${font}`))])));
    return css.replace(/fonts\/[\w-]+\.woff2/g, (font) => data.get(font));
  }
  playground.drawnPage = async (text) => {
    const page = new DOMParser().parseFromString(text, 'text/html'), texts = [...page.querySelectorAll('markdown-text')];
    for (const each of texts) {
      const source = each.textContent, told = await playground.markdown.ask({ kind: each.hasAttribute('fenced') ? 'fenced' : 'finished', text: source });
      const drawn = page.createElement('div'); drawn.className = 'drawn'; drawn.innerHTML = (told?.blocks || playground.markdown.plain(source)).join('');
      for (const button of drawn.querySelectorAll('button')) button.remove(); // there is nothing that they could do
      each.replaceWith(drawn);
    }
    if (page.querySelector('.katex')) { const style = page.createElement('style'); style.textContent = await katexStyles(); page.head.append(style); }
    return texts.length ? `<!doctype html>\n${page.documentElement.outerHTML}` : text;
  };
})();
