// The Playground beyond the chat: what its requests say and what their answers mean. Pure.
import { DASH, count, duration, percent } from "./format";

export const TABS = [
  ["chat", "Chat"],
  ["images", "Images"],
  ["speech", "Speech"],
  ["transcription", "Transcription"],
  ["rerank", "Rerank"],
  ["embeddings", "Embeddings"],
  ["load", "Load test"],
] as const;
export type Tab = (typeof TABS)[number][0];

export function tabOf(rest: string): Tab {
  return TABS.find(([id]) => id === rest)?.[0] ?? "chat";
}

export const IMAGE_SIZES = ["512x512", "1024x1024", "1024x768", "1280x720", "1792x1024", "768x1024", "720x1280", "1024x1792"];

/** The pictures of an answer as data or plain URLs: OpenAI's form, and that of the Stable Diffusion web API. */
export function picturesOf(answer: unknown): string[] {
  const { data, images } = (answer ?? {}) as { data?: { b64_json?: string; url?: string }[]; images?: string[] };
  const found = [...(data ?? []).map((each) => each.b64_json ?? each.url ?? ""), ...(images ?? [])];
  return found.filter(Boolean).map((text) => (/^(data|https?):/.test(text) ? text : `data:${pictureType(text)};base64,${text}`));
}

/** From how base64 begins: none of the interfaces says what kind of picture it is. */
function pictureType(base64: string): string {
  if (base64.startsWith("/9j/")) return "image/jpeg";
  if (base64.startsWith("UklGR")) return "image/webp";
  return "image/png";
}

export const VOICES = ["coral", "alloy", "echo", "fable", "onyx", "nova", "shimmer"];

/** `["a"]`, `{"voices": ["a"]}` and `{"voices": [{"id": "a"}]}` → ["a"]. */
export function voicesOf(answer: unknown): string[] {
  const list = Array.isArray(answer) ? answer : (answer as { voices?: unknown } | null)?.voices;
  if (!Array.isArray(list)) return [];
  const names = list.map((each) => (typeof each === "string" ? each : ((each as { id?: unknown; name?: unknown } | null)?.id ?? (each as { name?: unknown } | null)?.name)));
  return names.filter((name): name is string => typeof name === "string" && name !== "");
}

export interface Segment {
  start: number;
  end: number;
  text: string;
}

/** SubRip, or WebVTT with its dots. */
export function subtitles(segments: readonly Segment[], format: "srt" | "vtt"): string {
  const stamp = (seconds: number) => {
    const ms = Math.round(seconds * 1000);
    const part = (value: number, digits = 2) => String(Math.floor(value)).padStart(digits, "0");
    return `${part(ms / 3_600_000)}:${part((ms / 60_000) % 60)}:${part((ms / 1000) % 60)}${format === "srt" ? "," : "."}${part(ms % 1000, 3)}`;
  };
  const blocks = segments.map(({ start, end, text }, index) => `${format === "srt" ? `${index + 1}\n` : ""}${stamp(start)} --> ${stamp(end)}\n${text.trim()}\n`);
  return (format === "vtt" ? "WEBVTT\n\n" : "") + blocks.join("\n");
}

/** Each document's score, in the order of the documents; null where the answer has none. */
export function scoresOf(answer: unknown, documents: number): (number | null)[] {
  const results = (answer as { results?: { index?: number; relevance_score?: number }[] } | null)?.results ?? [];
  const scores = new Array<number | null>(documents).fill(null);
  for (const { index, relevance_score: score } of results)
    if (index !== undefined && index >= 0 && index < documents && typeof score === "number") scores[index] = score;
  return scores;
}

/** `{query, documents[]}` as somebody typed it; null if it is not that. */
export function rerankFrom(text: string): { query: string; documents: string[] } | null {
  try {
    const { query, documents } = JSON.parse(text) as { query?: unknown; documents?: unknown };
    if (typeof query !== "string" || !Array.isArray(documents)) return null;
    return { query, documents: documents.map((each) => (typeof each === "string" ? each : String((each as { text?: unknown } | null)?.text ?? JSON.stringify(each)))) };
  } catch {
    return null;
  }
}

export function vectorsOf(answer: unknown): number[][] {
  const data = (answer as { data?: { index?: number; embedding?: unknown }[] } | null)?.data ?? [];
  const found: number[][] = [];
  data.forEach(({ index, embedding }, at) => {
    if (Array.isArray(embedding)) found[index ?? at] = embedding as number[];
  });
  return found;
}

/** Cosine of the angle between two vectors, −1 to 1; null where one has no length. */
export function cosine(a: readonly number[], b: readonly number[]): number | null {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let index = 0; index < Math.min(a.length, b.length); index += 1) {
    dot += a[index]! * b[index]!;
    aa += a[index]! ** 2;
    bb += b[index]! ** 2;
  }
  return aa > 0 && bb > 0 ? dot / Math.sqrt(aa * bb) : null;
}

export type Phase = "waiting" | "loading" | "reasoning" | "streaming";

/** One request of a load test. Times are milliseconds since the test began. */
export interface Run {
  key: number;
  model: string;
  status: "queued" | "running" | "done" | "error" | "stopped";
  started: number;
  ended: number | null;
  /** When each phase began, in their order. */
  phases: { phase: Phase; at: number }[];
  text: string;
  error: string;
  ttft: number | null;
  tokens: number | null;
  speed: number | null;
}

/** The value that `share` (0–1) of the values do not exceed, interpolated; null of none. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  if (!sorted.length) return null;
  const rank = share * (sorted.length - 1);
  const low = Math.floor(rank);
  return sorted[low]! + (rank - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!);
}

export interface Summary {
  model: string;
  requests: number;
  errors: number;
  ttft: (number | null)[];
  total: (number | null)[];
  speed: (number | null)[];
  /** Tokens a second of all its requests together, from the first start to the last end. */
  together: number | null;
}

export const SHARES = [0.5, 0.95, 0.99];

/** One line a model, and one for all of them where there are several. */
export function summaries(runs: readonly Run[]): Summary[] {
  const over = runs.filter(({ status }) => status === "done" || status === "error");
  const models = [...new Set(over.map(({ model }) => model))];
  const of = (model: string, some: readonly Run[]): Summary => {
    const done = some.filter(({ status }) => status === "done");
    const spread = (values: (number | null)[]) => SHARES.map((share) => percentile(values.filter((value) => value !== null), share));
    const tokens = done.reduce((sum, run) => sum + (run.tokens ?? 0), 0);
    const seconds = done.length ? (Math.max(...done.map(({ ended }) => ended ?? 0)) - Math.min(...done.map(({ started }) => started))) / 1000 : 0;
    return {
      model,
      requests: some.length,
      errors: some.length - done.length,
      ttft: spread(done.map(({ ttft }) => ttft)),
      total: spread(done.map(({ ended, started }) => (ended === null ? null : ended - started))),
      speed: spread(done.map(({ speed }) => speed)),
      together: tokens && seconds > 0 ? tokens / seconds : null,
    };
  };
  const each = models.map((model) => of(model, over.filter((run) => run.model === model)));
  return models.length > 1 ? [...each, of("all", over)] : each;
}

export function summaryMarkdown(all: readonly Summary[]): string {
  const three = (values: (number | null)[], show: (value: number | null) => string) => values.map(show).join(" / ");
  const rate = (value: number | null) => (value === null ? DASH : value.toFixed(1));
  return [
    "| Model | Requests | Errors | TTFT p50 / p95 / p99 | Duration p50 / p95 / p99 | t/s p50 / p95 / p99 | t/s together |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ...all.map((each) => `| ${each.model.replace(/\|/g, "\\|")} | ${count(each.requests)} | ${count(each.errors)} | ${three(each.ttft, duration)} | ${three(each.total, duration)} | ${three(each.speed, rate)} | ${rate(each.together)} |`),
    "",
  ].join("\n");
}

/** Marks for an axis of `ms` milliseconds: at most eight, at 1, 2 or 5 times a power of ten. */
export function ticks(ms: number): number[] {
  const least = Math.max(ms, 1) / 8;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= least)!;
  return Array.from({ length: Math.floor(ms / step) + 1 }, (_, index) => index * step);
}

export function asPercent(value: number | null): string {
  return value === null ? DASH : percent(value * 100, 1);
}
