// Log records: out of the stream, into a bounded buffer, through a filter.
import { plain } from "./ansi";

export interface LogLine {
  /** Counts up within this browser; the key of the row. */
  key: number;
  seq: number | null;
  /** Milliseconds; null when the daemon did not say. */
  at: number | null;
  level: Level | null;
  source: string;
  model: string;
  text: string;
  /** Bytes lost here, 0 for a real line. */
  dropped: number;
}

export type Level = "debug" | "info" | "warn" | "error";
export const LEVELS: readonly Level[] = ["debug", "info", "warn", "error"];

interface LogRecord {
  seq?: number;
  ts?: string;
  level?: string | null;
  source?: string;
  model?: string | null;
  text?: string;
  dropped?: number;
}

let keys = 0;

/** A line of the NDJSON stream; a line that is no JSON is text that a plainer daemon sent. */
export function parseRecord(line: string, asText: boolean): LogLine | null {
  if (line === "") return null;
  if (!asText) {
    try {
      return fromRecord(JSON.parse(line) as LogRecord);
    } catch {
      return null;
    }
  }
  const gap = /^— (\d+) bytes dropped —$/.exec(line);
  const level = /\[(DEBUG|INFO|WARN|ERROR)\]/.exec(line.slice(0, 60));
  return {
    key: (keys += 1),
    seq: null,
    at: null,
    level: normalLevel(level?.[1]),
    source: "",
    model: "",
    text: gap ? "" : line,
    dropped: gap ? Number(gap[1]) : 0,
  };
}

function fromRecord(record: LogRecord): LogLine {
  const at = record.ts ? Date.parse(record.ts) : NaN;
  return {
    key: (keys += 1),
    seq: record.seq ?? null,
    at: Number.isNaN(at) ? null : at,
    level: normalLevel(record.level),
    source: record.source ?? "",
    model: record.model ?? "",
    text: (record.text ?? "").replace(/\r?\n$/, ""),
    dropped: record.dropped ?? 0,
  };
}

function normalLevel(level: string | null | undefined): Level | null {
  const name = level?.toLowerCase();
  if (name === "warning") return "warn";
  if (name === "critical" || name === "fatal") return "error";
  return LEVELS.includes(name as Level) ? (name as Level) : null;
}

/** Cuts text that arrives in pieces into lines. */
export class LineSplitter {
  #rest = "";

  push(text: string): string[] {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop()!;
    return lines;
  }
}

export interface LogFilter {
  text: string;
  regex: boolean;
  matchCase: boolean;
  /** Only these; empty means all. A line without a level passes unless only higher ones are wanted. */
  levels: Level[];
  models: string[];
  /** Lines shown before and after each match. */
  context: number;
}

export const NO_FILTER: LogFilter = {
  text: "",
  regex: false,
  matchCase: false,
  levels: [],
  models: [],
  context: 0,
};

export interface Matcher {
  /** Why the pattern cannot be used; such a pattern filters nothing. */
  error: string | null;
  pattern: RegExp | null;
  passes(line: LogLine): boolean;
}

export function matcher(filter: LogFilter): Matcher {
  let pattern: RegExp | null = null;
  let error: string | null = null;
  if (filter.text) {
    const source = filter.regex ? filter.text : filter.text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    try {
      pattern = new RegExp(source, filter.matchCase ? "gu" : "giu");
    } catch (reason) {
      error = reason instanceof Error ? reason.message : String(reason);
    }
  }
  const levels = new Set(filter.levels);
  const models = new Set(filter.models);
  const passes = (line: LogLine) => {
    if (line.dropped) return true;
    if (levels.size && !levels.has(line.level ?? "info")) return false;
    if (models.size && !models.has(line.model || line.source)) return false;
    if (!pattern) return true;
    pattern.lastIndex = 0;
    return pattern.test(plain(line.text));
  };
  return { error, pattern, passes };
}

/** The lines to show: those that pass, and `context` lines around each. */
export function filtered(lines: readonly LogLine[], filter: LogFilter, by: Matcher): LogLine[] {
  if (!by.pattern && !filter.levels.length && !filter.models.length) return lines as LogLine[];
  if (!filter.context) return lines.filter((line) => by.passes(line));
  const shown = new Uint8Array(lines.length);
  lines.forEach((line, index) => {
    if (by.passes(line))
      shown.fill(1, Math.max(0, index - filter.context), Math.min(lines.length, index + filter.context + 1));
  });
  return lines.filter((_, index) => shown[index]);
}

export interface Piece {
  text: string;
  match: boolean;
}

/** `text` cut at the matches of `pattern`, for highlighting. */
export function pieces(text: string, pattern: RegExp | null): Piece[] {
  if (!pattern) return [{ text, match: false }];
  const found: Piece[] = [];
  let from = 0;
  pattern.lastIndex = 0; // `matchAll` begins where the last `test` ended
  for (const match of text.matchAll(pattern)) {
    if (match[0] === "") continue;
    if (match.index > from) found.push({ text: text.slice(from, match.index), match: false });
    found.push({ text: match[0], match: true });
    from = match.index + match[0].length;
  }
  if (from < text.length || !found.length) found.push({ text: text.slice(from), match: false });
  return found;
}
