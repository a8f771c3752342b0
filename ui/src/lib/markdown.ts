// Markdown of a model's answer as safe HTML. Three walls: markdown-it does not take HTML, DOMPurify drops what
// could still act, and the page's Content-Security-Policy runs no script that is not a file of ours.
import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";

export type Highlighter = (code: string, language: string) => string | null;
export type MathRenderer = (tex: string, block: boolean) => string | null;

/** What arrives later, in chunks of its own: until then code and formulas are shown as they are written. */
export const extras: { highlight: Highlighter | null; math: MathRenderer | null } = {
  highlight: null,
  math: null,
};

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: true, typographer: false });
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

markdown.renderer.rules.fence = (tokens, index) => {
  const token = tokens[index]!;
  const language = token.info.trim().split(/\s+/, 1)[0] ?? "";
  return codeBlock(token.content, language);
};
markdown.renderer.rules.code_block = (tokens, index) => codeBlock(tokens[index]!.content, "");

function codeBlock(code: string, language: string): string {
  const html = extras.highlight?.(code, language) ?? escapeHtml(code);
  const label = escapeHtml(language || "text");
  const copy = '<button type="button" class="copy">Copy</button>';
  return `<div class="code" data-language="${label}">${copy}<pre tabindex="0"><code>${html}</code></pre></div>`;
}

// A picture from elsewhere would tell that server what is being talked about: it becomes a link that says where.
markdown.renderer.rules.image = (tokens, index) => {
  const token = tokens[index]!;
  const source = String(token.attrGet("src") ?? "");
  const alt = escapeHtml(token.content || "picture");
  if (/^data:image\/(png|jpeg|gif|webp);base64,/i.test(source)) return `<img src="${escapeHtml(source)}" alt="${alt}">`;
  const host = hostOf(source);
  return host ? `<a href="${escapeHtml(source)}">${alt} (picture at ${escapeHtml(host)})</a>` : alt;
};

markdown.renderer.rules.table_open = () => '<div class="table-scroll" tabindex="0"><table>';
markdown.renderer.rules.table_close = () => "</table></div>";

markdown.inline.ruler.before("escape", "math_inline", (state, silent) => {
  const found = inlineMath(state.src.slice(state.pos));
  if (!found) return false;
  if (!silent) {
    const token = state.push("math", "", 0);
    token.content = found.tex;
    token.markup = found.block ? "block" : "inline";
  }
  state.pos += found.length;
  return true;
});

markdown.block.ruler.before("fence", "math_block", (state, startLine, endLine, silent) => {
  const first = lineOf(state, startLine);
  const opening = first.startsWith("$$") ? "$$" : first.startsWith("\\[") ? "\\[" : null;
  if (!opening) return false;
  const closing = opening === "$$" ? "$$" : "\\]";
  const lines: string[] = [];
  for (let line = startLine; line < endLine; line += 1) {
    const text = line === startLine ? first.slice(2) : lineOf(state, line);
    const end = text.trimEnd().endsWith(closing);
    lines.push(end ? text.trimEnd().slice(0, -2) : text);
    if (!end) continue;
    if (silent) return true;
    const token = state.push("math", "", 0);
    token.block = true;
    token.content = lines.join("\n").trim();
    token.markup = "block";
    token.map = [startLine, line + 1];
    state.line = line + 1;
    return true;
  }
  return false;
});

type BlockState = { src: string; bMarks: number[]; tShift: number[]; eMarks: number[] };
function lineOf(state: BlockState, line: number): string {
  return state.src.slice(state.bMarks[line]! + state.tShift[line]!, state.eMarks[line]!);
}

markdown.renderer.rules.math = (tokens, index) => {
  const { content, markup } = tokens[index]!;
  const html = extras.math?.(content, markup === "block");
  return html ?? `<code class="tex">${escapeHtml(content)}</code>`;
};

function inlineMath(text: string): { tex: string; length: number; block: boolean } | null {
  for (const [opening, closing, block] of INLINE) {
    if (!text.startsWith(opening)) continue;
    const end = text.indexOf(closing, opening.length);
    if (end < 0) continue;
    const tex = text.slice(opening.length, end);
    // "$5 and $6" is money: no space inside the dollars, no digit after them.
    if (opening === "$" && (!/^\S(.*\S)?$/s.test(tex) || /^\d/.test(text.slice(end + 1)))) continue;
    if (tex.trim() === "") continue;
    return { tex, length: end + closing.length, block };
  }
  return null;
}

const INLINE: readonly (readonly [string, string, boolean])[] = [
  ["$$", "$$", true],
  ["\\[", "\\]", true],
  ["\\(", "\\)", false],
  ["$", "$", false],
];

/** Markdown to HTML that is safe to put into the page. */
export function render(source: string): string {
  return purify(markdown.render(source));
}

let purifier: typeof DOMPurify | null = null;

function purify(html: string): string {
  if (!purifier) {
    purifier = DOMPurify;
    purifier.addHook("afterSanitizeAttributes", (node) => {
      if (node.nodeName === "A") {
        const target = node.getAttribute("href") ?? "";
        if (!/^(https?:|mailto:)/i.test(target)) node.removeAttribute("href");
        node.setAttribute("rel", "noopener noreferrer");
        node.setAttribute("target", "_blank");
      }
      if (node.nodeName === "IMG" && !/^data:image\//i.test(node.getAttribute("src") ?? "")) node.remove();
    });
  }
  return purifier.sanitize(html, {
    USE_PROFILES: { html: true, mathMl: true, svg: true },
    ADD_TAGS: ["semantics", "annotation"],
    FORBID_TAGS: ["style", "form", "input", "textarea", "select", "video", "audio", "iframe", "object"],
    FORBID_ATTR: ["srcset", "id", "name"],
    ADD_ATTR: ["target"],
  });
}

/**
 * The blocks of a text that is still growing: all but the last are finished and need not be rendered again. A
 * fence or formula that is open stays in the last block.
 */
export function blocks(source: string): string[] {
  const found: string[] = [];
  let current: string[] = [];
  let fence: string | null = null;
  let math: string | null = null;
  let blank = false;
  for (const line of source.split("\n")) {
    const text = line.trim();
    const marker = /^(`{3,}|~{3,})/.exec(text)?.[1];
    if (fence) {
      if (marker && marker[0] === fence[0] && marker.length >= fence.length && text === marker) fence = null;
    } else if (math) {
      if (text.endsWith(math)) math = null;
    } else if (marker) fence = marker;
    else if (/^(\$\$|\\\[)/.test(text)) {
      const closing = text.startsWith("$$") ? "$$" : "\\]";
      if (text.length < 4 || !text.endsWith(closing)) math = closing;
    } else if (text === "") {
      blank = true;
      continue;
    }
    if (blank && current.length) {
      if (hasList(current) && continuesList(line)) current.push("");
      else {
        found.push(current.join("\n"));
        current = [];
      }
    }
    blank = false;
    current.push(line);
  }
  if (current.length) found.push(current.join("\n"));
  return found;
}

function hasList(lines: string[]): boolean {
  return lines.some((line) => /^\s*([-*+]|\d+[.)])\s/.test(line));
}

/** Whether a line after a blank one goes on with the list before: lists are rendered whole, for their numbers. */
function continuesList(line: string): boolean {
  return /^(\s|[-*+](\s|$)|\d+([.)](\s|$)|$))/.test(line);
}

/** Close what is open at the end of a text that has not ended, so that it looks like what it will become. */
export function closed(block: string): string {
  let fence: string | null = null;
  for (const line of block.split("\n")) {
    const marker = /^\s*(`{3,}|~{3,})/.exec(line)?.[1];
    if (!marker) continue;
    if (!fence) fence = marker;
    else if (marker[0] === fence[0] && marker.length >= fence.length) fence = null;
  }
  if (fence) return `${block}\n${fence}`;
  if ((block.match(/\$\$/g)?.length ?? 0) % 2) return `${block}\n$$`;
  if (block.lastIndexOf("\\[") > block.lastIndexOf("\\]")) return `${block}\n\\]`;
  return block;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function hostOf(url: string): string {
  try {
    const { protocol, host } = new URL(url);
    return protocol === "https:" || protocol === "http:" ? host : "";
  } catch {
    return "";
  }
}
