// ANSI escape sequences in log lines (ECMA-48): SGR becomes styled spans, everything else is dropped. The
// result is data, never HTML.

export interface Style {
  /** A palette number 0–255, or "#rrggbb". */
  fg?: number | string;
  bg?: number | string;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  underline?: boolean;
  strike?: boolean;
  inverse?: boolean;
}

export interface Span {
  text: string;
  style: Style | null;
}

// CSI … final; OSC … BEL or ST; other two-character escapes; single control characters except tab.
const ESCAPES =
  // eslint-disable-next-line no-control-regex
  /\u001b\[([0-?]*)[ -/]*([@-~])|\u001b[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-~]|[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g;

export function hasEscapes(text: string): boolean {
  return /[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/.test(text);
}

/** The spans of one line. Styles do not reach into the next line: the lines of several writers are mixed. */
export function spansOf(line: string): Span[] {
  if (!hasEscapes(line)) return line ? [{ text: line, style: null }] : [];
  const spans: Span[] = [];
  let style: Style = {};
  let from = 0;
  const add = (text: string) => {
    if (text) spans.push({ text, style: Object.keys(style).length ? style : null });
  };
  for (const match of line.matchAll(ESCAPES)) {
    add(line.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === "m") style = sgr(style, match[1] ?? "");
  }
  add(line.slice(from));
  return spans;
}

export function plain(line: string): string {
  return hasEscapes(line) ? line.replace(ESCAPES, "") : line;
}

function sgr(before: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  let style = { ...before };
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i]!;
    if (code === 38 || code === 48) {
      const [color, used] = extended(codes, i + 1);
      i += used;
      if (color !== null) style[code === 38 ? "fg" : "bg"] = color;
    } else style = simple(style, code);
  }
  return style;
}

function extended(codes: number[], at: number): [number | string | null, number] {
  if (codes[at] === 5) {
    const n = codes[at + 1];
    return [n !== undefined && n >= 0 && n <= 255 ? n : null, 2];
  }
  if (codes[at] === 2) {
    const rgb = codes.slice(at + 1, at + 4);
    const valid = rgb.length === 3 && rgb.every((part) => part >= 0 && part <= 255);
    return [valid ? `#${rgb.map((part) => part.toString(16).padStart(2, "0")).join("")}` : null, 4];
  }
  return [null, 1];
}

function simple(style: Style, code: number): Style {
  const { fg, bg, bold, dim, italic, underline, strike, inverse, ...none } = style;
  if (code === 0) return none;
  if (code === 1) return { ...style, bold: true };
  if (code === 2) return { ...style, dim: true };
  if (code === 3) return { ...style, italic: true };
  if (code === 4 || code === 21) return { ...style, underline: true };
  if (code === 7) return { ...style, inverse: true };
  if (code === 9) return { ...style, strike: true };
  if (code === 22) return without(style, "bold", "dim");
  if (code === 23) return without(style, "italic");
  if (code === 24) return without(style, "underline");
  if (code === 27) return without(style, "inverse");
  if (code === 29) return without(style, "strike");
  if (code >= 30 && code <= 37) return { ...style, fg: code - 30 };
  if (code === 39) return without(style, "fg");
  if (code >= 40 && code <= 47) return { ...style, bg: code - 40 };
  if (code === 49) return without(style, "bg");
  if (code >= 90 && code <= 97) return { ...style, fg: code - 82 };
  if (code >= 100 && code <= 107) return { ...style, bg: code - 92 };
  return style;
}

function without(style: Style, ...names: (keyof Style)[]): Style {
  const rest = { ...style };
  for (const name of names) delete rest[name];
  return rest;
}

/** CSS for a style; the sixteen named colours are custom properties, which differ between light and dark. */
export function css(style: Style): string {
  const parts: string[] = [];
  let fg = style.fg === undefined ? null : color(style.fg);
  let bg = style.bg === undefined ? null : color(style.bg);
  if (style.inverse) [fg, bg] = [bg ?? "var(--surface)", fg ?? "var(--text)"];
  if (fg) parts.push(`color:${fg}`);
  if (bg) parts.push(`background:${bg}`);
  if (style.bold) parts.push("font-weight:650");
  if (style.dim) parts.push("opacity:.7");
  if (style.italic) parts.push("font-style:italic");
  const lines = [style.underline && "underline", style.strike && "line-through"].filter(Boolean);
  if (lines.length) parts.push(`text-decoration:${lines.join(" ")}`);
  return parts.join(";");
}

function color(value: number | string): string {
  if (typeof value === "string") return value;
  if (value < 16) return `var(--ansi-${value})`;
  if (value >= 232) {
    const grey = 8 + (value - 232) * 10;
    return `rgb(${grey} ${grey} ${grey})`;
  }
  const n = value - 16;
  const level = (part: number) => (part === 0 ? 0 : 55 + part * 40);
  return `rgb(${level(Math.floor(n / 36))} ${level(Math.floor(n / 6) % 6)} ${level(n % 6)})`;
}
