// Numbers and times as people read them. Unknown is a dash, never 0.

export const DASH = "—";

type Maybe = number | null | undefined;

function known(value: Maybe): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

const grouped = new Intl.NumberFormat("en-US");

export function count(value: Maybe): string {
  return known(value) ? grouped.format(Math.round(value)) : DASH;
}

/** 1,234,567 → 1.23 M; for totals where the last digit says nothing. */
export function short(value: Maybe): string {
  if (!known(value)) return DASH;
  if (value < 10_000) return grouped.format(Math.round(value));
  const units = ["k", "M", "G", "T"];
  let scaled = value;
  let unit = "";
  for (const next of units) {
    if (scaled < 1000) break;
    scaled /= 1000;
    unit = next;
  }
  return `${scaled < 10 ? scaled.toFixed(2) : scaled < 100 ? scaled.toFixed(1) : Math.round(scaled)} ${unit}`;
}

/** Bytes in binary units: 1536 → "1.5 KiB". */
export function bytes(value: Maybe): string {
  if (!known(value)) return DASH;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let index = 0;
  while (value >= 1024 && index < units.length - 1) {
    value /= 1024;
    index += 1;
  }
  return `${index === 0 ? value : value.toFixed(1)} ${units[index]}`;
}

export function mebibytes(value: Maybe): string {
  return known(value) ? bytes(value * 1024 * 1024) : DASH;
}

/** A duration of milliseconds: "640 ms", "1.23 s", "4 min 05 s", "2 h 10 min". */
export function duration(ms: Maybe): string {
  if (!known(ms)) return DASH;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(2) : s.toFixed(1)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${pad(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A countdown: "4:12", "1:02:09". */
export function clock(ms: Maybe): string {
  if (!known(ms)) return DASH;
  const s = Math.ceil(ms / 1000);
  const hours = Math.floor(s / 3600);
  const rest = `${pad(Math.floor((s % 3600) / 60))}:${pad(s % 60)}`;
  return hours ? `${hours}:${rest}` : rest.replace(/^0/, "");
}

/** Tokens a second; the API says -1 when nobody measured it. */
export function speed(value: Maybe): string {
  return known(value) && value > 0 ? `${rate(value)} t/s` : DASH;
}

/** A rate without its unit, with no more digits than say something: "12.34", "456.7", "8,396". */
export function rate(value: number): string {
  if (value >= 1000) return count(Math.round(value));
  return value.toFixed(value >= 100 ? 1 : 2);
}

export function percent(value: Maybe, digits = 0): string {
  return known(value) ? `${value.toFixed(digits)} %` : DASH;
}

/** A context length: 128000 → "128K", 131072 → "131K", 1000000 → "1M". */
export function contextLength(tokens: number): string {
  if (tokens >= 1_000_000) return `${trim(tokens / 1_000_000)}M`;
  return tokens >= 1000 ? `${trim(tokens / 1000)}K` : String(tokens);
}

function trim(value: number): string {
  return value >= 10 ? String(Math.round(value)) : value.toFixed(1).replace(/\.0$/, "");
}

function pad(value: number): string {
  return String(value).padStart(2, "0");
}

export type TimeFormat = "relative" | "absolute" | "utc";

/** Since when, from `now` (both milliseconds): "now", "12 s ago", then minutes, hours, and after a day the date. */
export function ago(at: number, now: number): string {
  const s = Math.floor((now - at) / 1000);
  if (s < 5) return "now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return dateTime(at);
}

/** Local `YYYY-MM-DD HH:mm:ss`. */
export function dateTime(at: number): string {
  const d = new Date(at);
  if (Number.isNaN(d.getTime())) return DASH;
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${timeOfDay(at)}`;
}

export function utcDateTime(at: number): string {
  const d = new Date(at);
  return Number.isNaN(d.getTime()) ? DASH : `${d.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** Local `HH:mm:ss`, with milliseconds if asked for. */
export function timeOfDay(at: number, withMs = false): string {
  const d = new Date(at);
  const text = `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
  return withMs ? `${text}.${String(d.getMilliseconds()).padStart(3, "0")}` : text;
}

export function time(at: number, now: number, format: TimeFormat): string {
  if (format === "utc") return utcDateTime(at);
  return format === "absolute" ? dateTime(at) : ago(at, now);
}

/** "1 model", "3 models". */
export function counted(n: number, noun: string, plural = `${noun}s`): string {
  return `${count(n)} ${n === 1 ? noun : plural}`;
}

/** Names as people read them: 2 before 10. */
const natural = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
export function naturally(a: string, b: string): number {
  return natural.compare(a, b);
}

/** Shorten in the middle, where ids and paths differ least. */
export function middle(text: string, most: number): string {
  if (text.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (most - 1 - head))}`;
}
