// What the Models page makes of the daemon's list: order, filters, words.
import { contextLength, naturally } from "./format";
import type { Capabilities, LastError, ModelEntry, ModelProgress } from "./types";

export type Tone = "ok" | "busy" | "bad" | "info" | "off";

const STATES: Record<string, { word: string; tone: Tone }> = {
  ready: { word: "ready", tone: "ok" },
  starting: { word: "starting", tone: "busy" },
  stopping: { word: "stopping", tone: "busy" },
  draining: { word: "draining", tone: "busy" },
  stopped: { word: "stopped", tone: "off" },
  failed: { word: "failed", tone: "bad" },
  sleeping: { word: "falling asleep", tone: "info" },
  asleep: { word: "asleep", tone: "info" },
  waking: { word: "waking", tone: "info" },
  shutdown: { word: "shut down", tone: "off" },
  "": { word: "remote", tone: "off" },
};

export function stateOf(state: string): { word: string; tone: Tone } {
  return STATES[state] ?? { word: state, tone: "off" };
}

export function isLocal(model: ModelEntry): boolean {
  return model.peerID === "";
}

export function isRunning(model: ModelEntry): boolean {
  return isLocal(model) && !["stopped", "shutdown", ""].includes(model.state);
}

export function titleOf(model: { id: string; name: string }): string {
  return model.name || model.id;
}

export function lastError(model: ModelEntry): LastError | null {
  if (!model.last_error) return null;
  return typeof model.last_error === "string" ? { message: model.last_error } : model.last_error;
}

/** The state a row shows: a stopped model whose last start went wrong is failed. */
export function shownState(model: ModelEntry): string {
  return model.state === "stopped" && lastError(model) ? "failed" : model.state;
}

const CAPABILITIES: [keyof Capabilities, string][] = [
  ["vision", "Vision"],
  ["audio_transcriptions", "Transcription"],
  ["audio_speech", "Speech"],
  ["image_generation", "Image gen"],
  ["image_to_image", "Img→Img"],
  ["function_calling", "Function calling"],
  ["reranker", "Reranker"],
];

export function capabilityTags(model: { capabilities?: Capabilities; context_length?: number }): string[] {
  const tags = CAPABILITIES.filter(([name]) => model.capabilities?.[name]).map(([, tag]) => tag);
  if (model.context_length) tags.push(contextLength(model.context_length));
  return tags;
}

export const CAPABILITY_NAMES = CAPABILITIES.map(([, tag]) => tag);

export interface ModelFilter {
  text: string;
  states: string[];
  capabilities: string[];
  unlisted: boolean;
}

export type ModelSort = "name" | "used" | "size";

export function matches(model: ModelEntry, filter: ModelFilter): boolean {
  if (model.unlisted && !filter.unlisted) return false;
  if (filter.states.length && !filter.states.includes(chipOf(model))) return false;
  const tags = capabilityTags(model);
  if (!filter.capabilities.every((tag) => tags.includes(tag))) return false;
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const text = [model.id, model.name, model.description, model.peerID, ...(model.aliases ?? [])].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

/** The chip that a model belongs to: "ready", "busy", "failed" or "stopped"; peers have none. */
export function chipOf(model: ModelEntry): string {
  if (!isLocal(model)) return "peer";
  const { tone } = stateOf(shownState(model));
  return tone === "ok" ? "ready" : tone === "bad" ? "failed" : tone === "off" ? "stopped" : "busy";
}

export function ordered(models: readonly ModelEntry[], sort: ModelSort, pins: readonly string[]): ModelEntry[] {
  const pinned = new Set(pins);
  const name = (model: ModelEntry) => `${titleOf(model)} ${model.id}`;
  const used = (model: ModelEntry) => Date.parse(model.last_used_at ?? "") || 0;
  const size = (model: ModelEntry) => vramMb(model) ?? model.rss_mb ?? 0;
  const compare: Record<ModelSort, (a: ModelEntry, b: ModelEntry) => number> = {
    name: () => 0,
    used: (a, b) => used(b) - used(a),
    size: (a, b) => size(b) - size(a),
  };
  return [...models].sort(
    (a, b) =>
      Number(pinned.has(b.id)) - Number(pinned.has(a.id)) || compare[sort](a, b) || naturally(name(a), name(b)),
  );
}

export function vramMb(model: ModelEntry): number | null {
  return model.vram?.length ? model.vram.reduce((sum, { mb }) => sum + (mb ?? 0), 0) : null;
}

/** What is happening to a model that is not there yet, in words; `elapsed` is milliseconds in this phase. */
export function phaseText(progress: ModelProgress, elapsed: number): string {
  const s = Math.floor(elapsed / 1000);
  const evicting = progress.evicting?.join(", ");
  switch (progress.phase) {
    case "queued":
      return `waiting for its turn${progress.queue_pos ? `, place ${progress.queue_pos}` : ""} · ${s} s`;
    case "evicting":
      return `stopping ${evicting || "others"} to make room · ${s} s`;
    case "spawning":
      return `starting its server · ${s} s`;
    case "health":
      return `waiting until it is ready · ${s} s${progress.detail ? ` · ${progress.detail}` : ""}`;
    case "failed":
      return progress.detail ? `failed: ${progress.detail}` : "failed";
    case "stopping":
      return `stopping · ${s} s`;
    default:
      return `${progress.phase} · ${s} s`;
  }
}

/** The address of a model's own web page, as a path of the daemon. */
export function webPage(model: ModelEntry): string {
  return model.id === "comfyui_auto" ? "comfyui/" : `upstream/${model.id.split("/").map(encodeURIComponent).join("/")}/`;
}

export function curlExample(id: string, origin: string): string {
  const body = JSON.stringify({ model: id, messages: [{ role: "user", content: "Hello!" }] });
  return `curl ${origin}v1/chat/completions \\\n  -H 'Content-Type: application/json' \\\n  -d '${body.replaceAll("'", `'\\''`)}'`;
}

export function pythonExample(id: string, origin: string): string {
  return [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(`${origin}v1`)}, api_key="none")`,
    "answer = client.chat.completions.create(",
    `    model=${JSON.stringify(id)},`,
    '    messages=[{"role": "user", "content": "Hello!"}],',
    ")",
    "print(answer.choices[0].message.content)",
  ].join("\n");
}
