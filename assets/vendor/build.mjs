// Writes what the app serves out of node_modules: bundles for the Markdown worker, KaTeX's own files, mermaid, their licences, and vendor.json,
// which tells for every file where it comes from and its SHA-256.
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';

const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')).version;
const made = {};
const own = ['package.json', 'package-lock.json', 'build.mjs', 'node_modules', 'README.md', '.gitignore'];
for (const name of readdirSync('.')) if (!own.includes(name) && !name.endsWith('.entry.mjs')) rmSync(name, { recursive: true });
for (const name of ['katex/fonts', 'licences']) mkdirSync(name, { recursive: true });
const note = (file, from) => { made[file] = { from, sha256: createHash('sha256').update(readFileSync(file)).digest('hex') }; };
const take = (from, file, names) => { cpSync(`node_modules/${from}`, file); note(file, names); };

for (const [entry, packages] of [['markdown', ['markdown-it', 'markdown-it-footnote', 'markdown-it-cjk-friendly']], ['highlight', ['highlight.js']]]) {
  const file = `${entry}.min.js`;
  await build({ entryPoints: [`${entry}.entry.mjs`], bundle: true, minify: true, format: 'iife', target: 'es2021', outfile: file, legalComments: 'none' });
  note(file, packages.map((name) => `${name}@${version(name)}`).join(', '));
}
const katex = `katex@${version('katex')}`;
take('katex/dist/katex.min.js', 'katex/katex.min.js', katex);
take('katex/dist/contrib/mhchem.min.js', 'katex/mhchem.min.js', katex);
for (const font of readdirSync('node_modules/katex/dist/fonts').filter((name) => name.endsWith('.woff2'))) take(`katex/dist/fonts/${font}`, `katex/fonts/${font}`, katex);
take('katex/dist/katex.min.css', 'katex/katex.min.css', katex);
const css = readFileSync('katex/katex.min.css', 'utf8').replace(/,url\(fonts\/[\w-]+\.(?:woff|ttf)\) format\("\w+"\)/g, ''); // every current browser takes woff2
writeFileSync('katex/katex.min.css', css); note('katex/katex.min.css', `${katex}, woff2 only`);
take('mermaid/dist/mermaid.min.js', 'mermaid.min.js', `mermaid@${version('mermaid')}`);
for (const name of ['markdown-it', 'markdown-it-footnote', 'markdown-it-cjk-friendly', 'get-east-asian-width', 'linkify-it', 'mdurl', 'uc.micro', 'entities', 'highlight.js', 'katex', 'mermaid']) {
  const licence = readdirSync(`node_modules/${name}`).find((file) => /^licen[cs]e/i.test(file));
  take(`${name}/${licence}`, `licences/${name}.txt`, `${name}@${version(name)}`);
}
writeFileSync('vendor.json', `${JSON.stringify(made, null, 1)}\n`);
