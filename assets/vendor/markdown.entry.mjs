// What the page's Markdown worker takes from npm, as one classic script: `vendor` in the worker's global scope.
import markdownit from 'markdown-it';
import footnote from 'markdown-it-footnote';
import { LinkifyIt } from 'linkify-it';
import cjkFriendly from 'markdown-it-cjk-friendly';

globalThis.vendor = { markdownit, footnote, cjkFriendly, LinkifyIt };
