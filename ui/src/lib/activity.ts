// The Activity page's filters, as they stand in its address and in the daemon's query, and its export.
import { DASH, count, dateTime, duration, percent, speed } from "./format";
import type { ActivityRow } from "./types";

export interface Filters {
  model: string[];
  status: string;
  path: string;
  key: string;
  session: string;
  q: string;
  capture: boolean;
  minId: string;
  maxId: string;
  /** A preset ("15m", "1h", "24h", "7d"), "custom", or "" for all. */
  range: string;
  start: string;
  end: string;
}

export const NO_FILTERS: Filters = {
  model: [],
  status: "",
  path: "",
  key: "",
  session: "",
  q: "",
  capture: false,
  minId: "",
  maxId: "",
  range: "",
  start: "",
  end: "",
};

export const RANGES: Record<string, number> = { "15m": 900, "1h": 3600, "24h": 86_400, "7d": 604_800 };

const TEXTS = ["status", "path", "key", "session", "q", "minId", "maxId", "range", "start", "end"] as const;

export function filtersFrom(query: URLSearchParams): Filters {
  const filters: Filters = { ...NO_FILTERS, model: query.getAll("model"), capture: query.get("capture") === "1" };
  for (const name of TEXTS) filters[name] = query.get(name) ?? "";
  return filters;
}

/** What goes into the address of the page, so that a view can be kept as a bookmark. */
export function filtersTo(filters: Filters): URLSearchParams {
  const query = new URLSearchParams();
  for (const model of filters.model) query.append("model", model);
  for (const name of TEXTS) if (filters[name]) query.set(name, filters[name]);
  if (filters.capture) query.set("capture", "1");
  return query;
}

export function activeFilters(filters: Filters): number {
  return [...filtersTo(filters).keys()].filter((name) => name !== "start" && name !== "end").length;
}

/** The daemon's query parameters for the filters; `now` in milliseconds. */
export function apiQuery(filters: Filters, now: number): URLSearchParams {
  const query = new URLSearchParams();
  for (const model of filters.model) query.append("model", model);
  for (const name of ["status", "path", "key", "session", "q"] as const)
    if (filters[name].trim()) query.set(name, filters[name].trim());
  if (filters.capture) query.set("has_capture", "1");
  if (/^[1-9]\d*$/.test(filters.minId)) query.set("min_id", filters.minId);
  if (/^[1-9]\d*$/.test(filters.maxId)) query.set("max_id", filters.maxId);
  const seconds = RANGES[filters.range];
  if (seconds) query.set("start", rfc3339(now - seconds * 1000));
  if (filters.range === "custom") {
    for (const name of ["start", "end"] as const) {
      const at = Date.parse(filters[name]);
      if (!Number.isNaN(at)) query.set(name, rfc3339(at));
    }
  }
  return query;
}

function rfc3339(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`;
}

export type ColumnId =
  | "id"
  | "time"
  | "model"
  | "path"
  | "status"
  | "type"
  | "cached"
  | "prompt"
  | "generated"
  | "drafted"
  | "prefill"
  | "decode"
  | "ttft"
  | "queue"
  | "load"
  | "duration"
  | "client"
  | "key"
  | "session"
  | "capture";

export interface Column {
  id: ColumnId;
  title: string;
  shown: boolean;
  /** The daemon's name for it as a sort column. */
  sort?: string;
  number?: boolean;
  hint?: string;
}

export const COLUMNS: readonly Column[] = [
  { id: "id", title: "ID", shown: true, sort: "id" },
  { id: "time", title: "Time", shown: true, sort: "time" },
  { id: "model", title: "Model", shown: true, sort: "model" },
  { id: "path", title: "Path", shown: false, sort: "req_path" },
  { id: "status", title: "Status", shown: true, sort: "resp_status_code" },
  { id: "type", title: "Content type", shown: false, sort: "resp_content_type" },
  { id: "cached", title: "Cached", shown: true, sort: "cached", number: true, hint: "Prompt tokens taken from the cache" },
  { id: "prompt", title: "Prompt", shown: true, sort: "prompt", number: true, hint: "New prompt tokens" },
  { id: "generated", title: "Generated", shown: true, sort: "generated", number: true, hint: "Generated tokens" },
  { id: "drafted", title: "Drafted", shown: false, sort: "drafted", number: true, hint: "Drafted tokens that were accepted" },
  { id: "prefill", title: "Prefill", shown: true, sort: "prompt_speed", number: true, hint: "Prompt tokens a second" },
  { id: "decode", title: "Decode", shown: true, sort: "gen_speed", number: true, hint: "Generated tokens a second" },
  { id: "ttft", title: "TTFT", shown: false, number: true, hint: "Time to the first token" },
  { id: "queue", title: "Queue", shown: false, number: true, hint: "Time spent waiting for a turn" },
  { id: "load", title: "Load", shown: false, number: true, hint: "Time spent waiting for the model to load" },
  { id: "duration", title: "Duration", shown: true, sort: "duration", number: true },
  { id: "client", title: "Client", shown: false },
  { id: "key", title: "Key", shown: false, hint: "Name of the API key" },
  { id: "session", title: "Session", shown: false },
  { id: "capture", title: "Capture", shown: true },
];

export function timeOf(row: ActivityRow): number {
  return row.ts_ms ?? Date.parse(row.timestamp);
}

function tokens(value: number): string {
  return value < 0 ? DASH : count(value);
}

/** The plain text of a cell; what the table shows and what is exported. */
export function cell(row: ActivityRow, column: ColumnId): string {
  const t = row.tokens;
  switch (column) {
    case "id":
      return String(row.id);
    case "time":
      return dateTime(timeOf(row));
    case "model":
      return row.model;
    case "path":
      return row.req_path;
    case "status":
      return String(row.resp_status_code);
    case "type":
      return row.resp_content_type || DASH;
    case "cached":
      return tokens(t.cache_tokens);
    case "prompt":
      return tokens(t.input_tokens);
    case "generated":
      return tokens(t.output_tokens);
    case "drafted":
      return t.draft_tokens > 0
        ? `${percent((t.draft_acc_tokens / t.draft_tokens) * 100)} (${count(t.draft_acc_tokens)}/${count(t.draft_tokens)})`
        : DASH;
    case "prefill":
      return speed(t.prompt_per_second);
    case "decode":
      return speed(t.tokens_per_second);
    case "ttft":
      return duration(row.ttft_ms);
    case "queue":
      return duration(row.queue_ms);
    case "load":
      return duration(row.load_ms);
    case "duration":
      return duration(row.duration_ms);
    case "client":
      return row.client ?? DASH;
    case "key":
      return row.metadata?.key ?? DASH;
    case "session":
      return row.session ?? DASH;
    case "capture":
      return row.has_capture ? "yes" : "";
  }
}

/** Σ tokens ÷ Σ (tokens ÷ speed), over the rows that know both: the speed of all of them taken together. */
export function weightedSpeed(pairs: readonly (readonly [number, number])[]): number | null {
  let total = 0;
  let seconds = 0;
  for (const [n, perSecond] of pairs) {
    if (n <= 0 || perSecond <= 0) continue;
    total += n;
    seconds += n / perSecond;
  }
  return seconds > 0 ? total / seconds : null;
}

/** The rows as Markdown: a summary, then the columns that are shown. */
export function markdownTable(rows: readonly ActivityRow[], columns: readonly Column[]): string {
  const sum = (of: (row: ActivityRow) => number) => rows.reduce((n, row) => n + Math.max(0, of(row)), 0);
  const times = rows.map(timeOf);
  const prompt = weightedSpeed(rows.map(({ tokens: t }) => [t.input_tokens, t.prompt_per_second]));
  const generated = weightedSpeed(rows.map(({ tokens: t }) => [t.output_tokens, t.tokens_per_second]));
  const drafted = sum((row) => row.tokens.draft_tokens);
  const accepted = sum((row) => row.tokens.draft_acc_tokens);
  const summary: [string, string][] = [
    ["Range", rows.length ? `${dateTime(Math.min(...times))} to ${dateTime(Math.max(...times))}` : DASH],
    ["Requests", count(rows.length)],
    ["Total duration", duration(sum((row) => row.duration_ms))],
    ["Cached", count(sum((row) => row.tokens.cache_tokens))],
    ["Prompt", `${count(sum((row) => row.tokens.input_tokens))} (${speed(prompt)})`],
    ["Generated", `${count(sum((row) => row.tokens.output_tokens))} (${speed(generated)})`],
    ["Drafted", drafted ? `${percent((accepted / drafted) * 100)} (${count(accepted)}/${count(drafted)})` : DASH],
  ];
  const shown = columns.filter((column) => column.id !== "capture");
  return [
    tableLine(["Summary", ""]),
    tableLine(["---", "---"]),
    ...summary.map(tableLine),
    "",
    tableLine(shown.map((column) => column.title)),
    tableLine(shown.map((column) => (column.number ? "---:" : "---"))),
    ...rows.map((row) => tableLine(shown.map((column) => cell(row, column.id)))),
    "",
  ].join("\n");
}

function tableLine(cells: readonly string[]): string {
  return `| ${cells.map((text) => text.replace(/\\/g, "\\\\").replace(/\|/g, "\\|").replace(/\s+/g, " ")).join(" | ")} |`;
}

/** The first header of `names`, in any case, that is there and not empty. */
export function sessionOf(headers: Record<string, string>, names: readonly string[]): string {
  const lower = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  for (const name of names) {
    const value = lower.get(name.toLowerCase());
    if (value) return value;
  }
  return "";
}
