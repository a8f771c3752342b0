// A kept request and its answer: decoded, and read as the conversation it was.
import { Assembler, type Answer } from "./chat";
import { SseParser } from "./sse";
import type { Capture } from "./types";

export type BodyKind = "empty" | "json" | "sse" | "text" | "image" | "binary";

export interface Body {
  kind: BodyKind;
  /** The text of a textual body, else "". */
  text: string;
  bytes: Uint8Array<ArrayBuffer>;
  type: string;
}

export function header(headers: Record<string, string> | null, name: string): string {
  const found = Object.entries(headers ?? {}).find(([key]) => key.toLowerCase() === name);
  return found?.[1] ?? "";
}

export function bodyOf(base64: string | null, headers: Record<string, string> | null): Body {
  const type = header(headers, "content-type").split(";", 1)[0]!.trim().toLowerCase();
  const bytes = base64 ? fromBase64(base64) : new Uint8Array();
  if (!bytes.length) return { kind: "empty", text: "", bytes, type };
  if (/^image\/(png|jpeg|gif|webp|avif|bmp)$/.test(type)) return { kind: "image", text: "", bytes, type };
  const text = utf8(bytes);
  if (text === null) return { kind: "binary", text: "", bytes, type };
  if (type === "text/event-stream") return { kind: "sse", text, bytes, type };
  return { kind: isJson(text) ? "json" : "text", text, bytes, type };
}

export function fromBase64(base64: string): Uint8Array<ArrayBuffer> {
  try {
    const binary = atob(base64);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
    return bytes;
  } catch {
    return new Uint8Array();
  }
}

function utf8(bytes: Uint8Array): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

export function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The answer, joined from its deltas or read from one JSON body; null if it is no chat answer. */
export function answerOf(body: Body): { text: string; answer: Answer } | null {
  if (body.kind !== "sse" && body.kind !== "json") return null;
  const assembler = new Assembler("", 0);
  if (body.kind === "json") assembler.push(body.text, 0);
  else for (const { data } of eventsOf(body.text)) assembler.push(data, 0);
  assembler.end(0);
  const { answer, text } = assembler;
  return text || answer.reasoning || answer.tools.length || answer.loading ? { text, answer } : null;
}

export function eventsOf(text: string) {
  const parser = new SseParser();
  return [...parser.push(text), ...parser.end()];
}

export interface Frame {
  /** Milliseconds since the request began; null if the daemon did not keep them. */
  at: number | null;
  event: string;
  data: string;
}

/** The events of a stream, each with the time of the piece that completed it. `pieces` are [ms, byte offset]. */
export function framesOf(body: Body, pieces: [number, number][] | undefined): Frame[] {
  if (!pieces?.length) return eventsOf(body.text).map((event) => ({ at: null, ...event }));
  const frames: Frame[] = [];
  const parser = new SseParser();
  const decoder = new TextDecoder();
  for (const [index, [at, from]] of pieces.entries()) {
    const to = pieces[index + 1]?.[1] ?? body.bytes.length;
    const text = decoder.decode(body.bytes.subarray(from, to), { stream: true });
    frames.push(...parser.push(text).map((event) => ({ at, ...event })));
  }
  const last = pieces.at(-1)![0];
  return [...frames, ...parser.end().map((event) => ({ at: last, ...event }))];
}

export interface Spoken {
  role: string;
  text: string;
  pictures: string[];
  /** Tool calls and results, as JSON text. */
  data: { title: string; json: string }[];
}

/** The request as a conversation, for the chat interfaces that are known; null for any other. */
export function conversationOf(body: Body): Spoken[] | null {
  if (body.kind !== "json") return null;
  const request = JSON.parse(body.text) as Record<string, unknown>;
  if (typeof request !== "object" || request === null) return null;
  const spoken: Spoken[] = [];
  const system = request.system ?? request.instructions;
  if (system) spoken.push({ role: "system", ...contentOf(system) });
  const turns = request.messages ?? request.input;
  if (typeof turns === "string") spoken.push({ role: "user", ...contentOf(turns) });
  else if (Array.isArray(turns)) for (const turn of turns) spoken.push(spokenOf(turn as Record<string, unknown>));
  else if (typeof request.prompt === "string") spoken.push({ role: "prompt", ...contentOf(request.prompt) });
  else if (!spoken.length) return null;
  return spoken;
}

function spokenOf(turn: Record<string, unknown>): Spoken {
  const role = typeof turn?.role === "string" ? turn.role : String(turn?.type ?? "?");
  const content = contentOf(turn?.content ?? turn?.output ?? "");
  if (Array.isArray(turn?.tool_calls)) content.data.push({ title: "Tool calls", json: json(turn.tool_calls) });
  if (turn?.type === "function_call") content.data.push({ title: "Function call", json: json(turn) });
  return { role, ...content };
}

function contentOf(content: unknown): Omit<Spoken, "role"> {
  const found: Omit<Spoken, "role"> = { text: "", pictures: [], data: [] };
  if (typeof content === "string") return { ...found, text: content };
  if (!Array.isArray(content)) return content ? { ...found, text: json(content) } : found;
  for (const part of content as Record<string, unknown>[]) {
    const picture = pictureOf(part);
    if (typeof part?.text === "string") found.text += (found.text ? "\n" : "") + part.text;
    else if (picture) found.pictures.push(picture);
    else found.data.push({ title: String(part?.type ?? "part"), json: json(part) });
  }
  return found;
}

function pictureOf(part: Record<string, unknown>): string | null {
  const image = part?.image_url;
  const url = typeof image === "string" ? image : (image as { url?: unknown } | undefined)?.url;
  if (typeof url === "string" && url.startsWith("data:image/")) return url;
  const source = part?.source as { type?: string; media_type?: string; data?: string } | undefined;
  return source?.type === "base64" && source.media_type?.startsWith("image/")
    ? `data:${source.media_type};base64,${source.data ?? ""}`
    : null;
}

function json(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

const NOT_REPEATED = /^(host|content-length|connection|accept-encoding|cookie|sec-.*|x-forwarded-.*|forwarded)$/i;

/** The request as a command line; credentials were never kept, so they stand there as a variable. */
export function asCurl(capture: Capture, origin: string): string {
  const body = bodyOf(capture.req_body, capture.req_headers);
  const query = capture.req_query ? `?${capture.req_query}` : "";
  const words = [`curl ${quote(origin.replace(/\/$/, "") + capture.req_path + query)}`];
  for (const [name, value] of Object.entries(capture.req_headers ?? {})) {
    if (NOT_REPEATED.test(name)) continue;
    if (value === "[REDACTED]") words.push(`-H "${name.replace(/[^\w-]/g, "")}: $SWAPD_KEY"`);
    else words.push(`-H ${quote(`${name}: ${value}`)}`);
  }
  if (body.text) words.push(`--data-binary ${quote(body.text)}`);
  return words.join(" \\\n  ");
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
