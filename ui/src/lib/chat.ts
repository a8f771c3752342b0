// Conversations with a model: what is sent, and what comes back in pieces, for the three chat interfaces.

export type Endpoint = "chat" | "messages" | "responses";

export const ENDPOINT_PATHS: Record<Endpoint, string> = {
  chat: "v1/chat/completions",
  messages: "v1/messages",
  responses: "v1/responses",
};

export interface Picture {
  name: string;
  /** `data:image/png;base64,…` */
  url: string;
}

export interface Turn {
  id: string;
  role: "user" | "assistant";
  text: string;
  pictures?: Picture[];
  answer?: Answer;
}

/** What an answer consists of, as far as it has arrived. */
export interface Answer {
  model: string;
  reasoning: string;
  /** What the daemon says while the model loads; never part of the answer. */
  loading: string;
  tools: { name: string; args: string }[];
  finish: string | null;
  error: string | null;
  usage: Usage;
  ttftMs: number | null;
  totalMs: number | null;
  reasoningMs: number | null;
}

export interface Usage {
  input: number | null;
  output: number | null;
  cached: number | null;
  promptSpeed: number | null;
  speed: number | null;
  drafted: number | null;
  accepted: number | null;
}

export interface Parameters {
  endpoint: Endpoint;
  system: string;
  /** Text fields as typed; empty means: leave it to the server. */
  temperature: string;
  max_tokens: string;
  top_p: string;
  top_k: string;
  min_p: string;
  repeat_penalty: string;
  presence_penalty: string;
  frequency_penalty: string;
  seed: string;
  stop: string;
  reasoning_effort: string;
  json: boolean;
  schema: string;
  extra: string;
}

export const DEFAULTS: Parameters = {
  endpoint: "chat",
  system: "",
  temperature: "0.7",
  max_tokens: "4096",
  top_p: "",
  top_k: "",
  min_p: "",
  repeat_penalty: "",
  presence_penalty: "",
  frequency_penalty: "",
  seed: "",
  stop: "",
  reasoning_effort: "",
  json: false,
  schema: "",
  extra: "",
};

export function newAnswer(model: string): Answer {
  return {
    model,
    reasoning: "",
    loading: "",
    tools: [],
    finish: null,
    error: null,
    usage: {
      input: null,
      output: null,
      cached: null,
      promptSpeed: null,
      speed: null,
      drafted: null,
      accepted: null,
    },
    ttftMs: null,
    totalMs: null,
    reasoningMs: null,
  };
}

/** What is wrong with the parameters; empty if nothing is. */
export function complaints(parameters: Parameters): string[] {
  const found: string[] = [];
  for (const name of [...NUMBERS, "max_tokens"] as const)
    if (parameters[name].trim() && !Number.isFinite(Number(parameters[name]))) found.push(`${name} is not a number`);
  for (const name of ["extra", "schema"] as const) {
    if (!parameters[name].trim() || (name === "schema" && !parameters.json)) continue;
    try {
      const value: unknown = JSON.parse(parameters[name]);
      if (typeof value !== "object" || value === null || Array.isArray(value)) found.push(`${name} must be a JSON object`);
    } catch (error) {
      found.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return found;
}

const NUMBERS = [
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "repeat_penalty",
  "presence_penalty",
  "frequency_penalty",
  "seed",
] as const;

/** The request body. Reasoning of earlier answers is not sent back. Assumes `complaints` found nothing. */
export function requestBody(model: string, turns: readonly Turn[], parameters: Parameters): Record<string, unknown> {
  const body: Record<string, unknown> = { model, stream: true };
  for (const name of NUMBERS) if (parameters[name].trim()) body[name] = Number(parameters[name]);
  const stop = parameters.stop
    .split("\n")
    .map((text) => text.replaceAll("\\n", "\n"))
    .filter(Boolean);
  const limit = parameters.max_tokens.trim() ? Number(parameters.max_tokens) : null;
  const schema: unknown = parameters.json && parameters.schema.trim() ? JSON.parse(parameters.schema) : null;
  if (parameters.endpoint === "chat") {
    body.messages = [...systemTurn(parameters.system), ...turns.map(chatMessage)];
    body.stream_options = { include_usage: true };
    if (limit !== null) body.max_tokens = limit;
    if (stop.length) body.stop = stop;
    if (parameters.reasoning_effort) body.reasoning_effort = parameters.reasoning_effort;
    if (parameters.json)
      body.response_format = schema
        ? { type: "json_schema", json_schema: { name: "answer", schema } }
        : { type: "json_object" };
  } else if (parameters.endpoint === "messages") {
    body.messages = turns.map(anthropicMessage);
    body.max_tokens = limit ?? 4096;
    if (parameters.system) body.system = parameters.system;
    if (stop.length) body.stop_sequences = stop;
  } else {
    body.input = turns.map(responsesItem);
    if (parameters.system) body.instructions = parameters.system;
    if (limit !== null) body.max_output_tokens = limit;
    if (parameters.reasoning_effort) body.reasoning = { effort: parameters.reasoning_effort };
    if (parameters.json)
      body.text = { format: schema ? { type: "json_schema", name: "answer", schema } : { type: "json_object" } };
  }
  return parameters.extra.trim() ? { ...body, ...(JSON.parse(parameters.extra) as object) } : body;
}

function systemTurn(text: string) {
  return text ? [{ role: "system", content: text }] : [];
}

function chatMessage(turn: Turn) {
  if (!turn.pictures?.length) return { role: turn.role, content: turn.text };
  const pictures = turn.pictures.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  return { role: turn.role, content: [{ type: "text", text: turn.text }, ...pictures] };
}

function anthropicMessage(turn: Turn) {
  if (!turn.pictures?.length) return { role: turn.role, content: turn.text };
  const pictures = turn.pictures.map(({ url }) => {
    const [, media_type = "image/png", data = ""] = /^data:([^;]+);base64,(.*)$/s.exec(url) ?? [];
    return { type: "image", source: { type: "base64", media_type, data } };
  });
  return { role: turn.role, content: [...pictures, { type: "text", text: turn.text }] };
}

function responsesItem(turn: Turn) {
  if (!turn.pictures?.length) return { role: turn.role, content: turn.text };
  const pictures = turn.pictures.map(({ url }) => ({ type: "input_image", image_url: url }));
  return { role: turn.role, content: [{ type: "input_text", text: turn.text }, ...pictures] };
}

interface Delta {
  text?: string;
  reasoning?: string;
  tool?: { index: number; name?: string; args?: string };
  finish?: string;
  error?: string;
}

const RULE = "━━━━━";

/**
 * Puts an answer together from the `data:` payloads of its stream, whichever of the three interfaces it came
 * through; whole JSON answers can be fed to it as well. Times are milliseconds of any one clock.
 */
export class Assembler {
  text = "";
  readonly answer: Answer;
  done = false;
  #started: number;
  #reasoningFrom: number | null = null;
  #loadingOpen = false;
  #pendingLine = "";

  constructor(model: string, started: number) {
    this.answer = newAnswer(model);
    this.#started = started;
  }

  /** Returns false once nothing more is to come. */
  push(payload: string, now: number): boolean {
    if (payload.trim() === "[DONE]") {
      this.end(now);
      return false;
    }
    let message: unknown;
    try {
      message = JSON.parse(payload);
    } catch {
      return true;
    }
    if (typeof message !== "object" || message === null) return true;
    const parts = message as Record<string, unknown>;
    readUsage(this.answer.usage, parts);
    if (typeof parts.model === "string" && parts.model) this.answer.model = parts.model;
    for (const delta of deltasOf(parts)) this.#apply(delta, now);
    return !this.done;
  }

  end(now: number): void {
    if (this.done) return;
    this.done = true;
    this.answer.totalMs = now - this.#started;
    if (this.#reasoningFrom !== null && this.answer.reasoningMs === null)
      this.answer.reasoningMs = now - this.#reasoningFrom;
    const { usage } = this.answer;
    if (usage.speed === null && usage.output && this.answer.ttftMs !== null) {
      const seconds = (this.answer.totalMs - this.answer.ttftMs) / 1000;
      if (seconds > 0.05) usage.speed = usage.output / seconds;
    }
  }

  fail(message: string, now: number): void {
    this.answer.error = message;
    this.end(now);
  }

  #apply(delta: Delta, now: number): void {
    if (delta.reasoning) this.#reason(delta.reasoning, now);
    if (delta.text) {
      this.#first(now);
      if (this.#reasoningFrom !== null && this.answer.reasoningMs === null)
        this.answer.reasoningMs = now - this.#reasoningFrom;
      this.text += delta.text;
    }
    if (delta.tool) {
      this.#first(now);
      const tool = (this.answer.tools[delta.tool.index] ??= { name: "", args: "" });
      tool.name += delta.tool.name ?? "";
      tool.args += delta.tool.args ?? "";
    }
    if (delta.finish) this.answer.finish = delta.finish;
    if (delta.error) this.answer.error = delta.error;
  }

  #first(now: number): void {
    this.answer.ttftMs ??= now - this.#started;
  }

  /**
   * The daemon reports the loading of a model in the reasoning of a stream, between two lines that begin with
   * five heavy dashes. That part goes to `loading`.
   */
  #reason(text: string, now: number): void {
    const lines = (this.#pendingLine + text).split("\n");
    this.#pendingLine = "";
    const last = lines.length - 1;
    lines.forEach((line, index) => {
      const start = line.trimStart();
      // The last line has not ended: as long as it can be a rule, nobody knows what it is.
      if (index === last && start !== "" && (start.startsWith(RULE) || RULE.startsWith(start))) this.#pendingLine = line;
      else if (start.startsWith(RULE)) this.#loadingOpen = !this.#loadingOpen;
      else if (this.#loadingOpen) this.answer.loading += index < last ? `${line}\n` : line;
      else this.#addReasoning(index < last ? `${line}\n` : line, now);
    });
  }

  #addReasoning(text: string, now: number): void {
    if (!text || (!this.answer.reasoning && !text.trim())) return;
    this.#first(now);
    this.#reasoningFrom ??= now;
    this.answer.reasoning += text;
  }
}

function* deltasOf(message: Record<string, unknown>): Generator<Delta> {
  if (message.error) {
    const error = message.error as { message?: unknown } | string;
    yield { error: typeof error === "string" ? error : String(error.message ?? JSON.stringify(error)) };
  }
  if (Array.isArray(message.choices)) yield* chatDeltas(message.choices as ChatChoice[]);
  else if (typeof message.type === "string") yield* typedDeltas(message.type, message);
  else if (Array.isArray(message.output)) yield* responsesOutput(message.output as ResponsesItem[]);
}

interface ChatPart {
  content?: unknown;
  reasoning_content?: string;
  reasoning?: string;
  tool_calls?: { index?: number; function?: { name?: string; arguments?: string } }[];
}
interface ChatChoice {
  delta?: ChatPart;
  message?: ChatPart;
  text?: string;
  finish_reason?: string | null;
}

function* chatDeltas(choices: ChatChoice[]): Generator<Delta> {
  for (const choice of choices.slice(0, 1)) {
    const part = choice.delta ?? choice.message ?? {};
    const reasoning = part.reasoning_content ?? part.reasoning;
    if (typeof reasoning === "string") yield { reasoning };
    const text = typeof part.content === "string" ? part.content : choice.text;
    if (typeof text === "string") yield { text };
    for (const [index, call] of (part.tool_calls ?? []).entries())
      yield { tool: { index: call.index ?? index, ...toolOf(call.function?.name, call.function?.arguments) } };
    if (choice.finish_reason) yield { finish: choice.finish_reason };
  }
}

function toolOf(name?: string, args?: string): { name?: string; args?: string } {
  return { ...(name ? { name } : {}), ...(args ? { args } : {}) };
}

interface AnthropicBlock {
  type?: string;
  text?: string;
  thinking?: string;
  name?: string;
  input?: unknown;
  partial_json?: string;
}
interface ResponsesItem {
  type?: string;
  name?: string;
  arguments?: string;
  content?: { type?: string; text?: string }[];
  summary?: { text?: string }[];
}

function* typedDeltas(type: string, message: Record<string, unknown>): Generator<Delta> {
  const text = typeof message.delta === "string" ? message.delta : "";
  switch (type) {
    case "content_block_start": {
      const block = (message.content_block ?? {}) as AnthropicBlock;
      if (block.type === "tool_use") yield { tool: { index: Number(message.index ?? 0), ...toolOf(block.name) } };
      return;
    }
    case "content_block_delta": {
      const delta = (message.delta ?? {}) as AnthropicBlock;
      if (delta.text) yield { text: delta.text };
      if (delta.thinking) yield { reasoning: delta.thinking };
      if (delta.partial_json) yield { tool: { index: Number(message.index ?? 0), args: delta.partial_json } };
      return;
    }
    case "message_delta": {
      const reason = (message.delta as { stop_reason?: string } | undefined)?.stop_reason;
      if (reason) yield { finish: reason };
      return;
    }
    case "message": {
      for (const [index, block] of ((message.content ?? []) as AnthropicBlock[]).entries()) {
        if (block.thinking) yield { reasoning: block.thinking };
        if (block.text) yield { text: block.text };
        if (block.type === "tool_use") yield { tool: { index, ...toolOf(block.name, JSON.stringify(block.input)) } };
      }
      if (typeof message.stop_reason === "string") yield { finish: message.stop_reason };
      return;
    }
    case "response.output_text.delta":
      return yield { text };
    case "response.reasoning_text.delta":
    case "response.reasoning_summary_text.delta":
      return yield { reasoning: text };
    case "response.function_call_arguments.delta":
      return yield { tool: { index: Number(message.output_index ?? 0), args: text } };
    case "response.output_item.added": {
      const item = (message.item ?? {}) as ResponsesItem;
      if (item.type === "function_call") yield { tool: { index: Number(message.output_index ?? 0), ...toolOf(item.name) } };
      return;
    }
    case "response.completed":
    case "response.incomplete":
      return yield { finish: String((message.response as { status?: string } | undefined)?.status ?? "completed") };
    case "response.failed": {
      const failed = message.response as { error?: { message?: string } } | undefined;
      return yield { error: failed?.error?.message ?? "the response failed" };
    }
  }
}

function* responsesOutput(items: ResponsesItem[]): Generator<Delta> {
  for (const [index, item] of items.entries()) {
    for (const part of item.summary ?? []) if (part.text) yield { reasoning: part.text };
    for (const part of item.content ?? [])
      if (part.text) yield item.type === "reasoning" ? { reasoning: part.text } : { text: part.text };
    if (item.type === "function_call") yield { tool: { index, ...toolOf(item.name, item.arguments) } };
  }
}

/** Counts and speeds out of `usage`, `message.usage`, `response.usage` and llama.cpp's `timings`. */
function readUsage(usage: Usage, message: Record<string, unknown>): void {
  const nested = (name: string) => (message[name] as Record<string, unknown> | undefined)?.usage;
  for (const found of [message.usage, nested("response"), nested("message")]) {
    if (typeof found !== "object" || found === null) continue;
    const numbers = found as Record<string, unknown>;
    const details = (numbers.prompt_tokens_details ?? numbers.input_tokens_details) as Record<string, unknown> | null;
    usage.input = number(numbers.prompt_tokens ?? numbers.input_tokens) || usage.input;
    usage.output = number(numbers.completion_tokens ?? numbers.output_tokens) || usage.output;
    usage.cached = number(numbers.cache_read_input_tokens ?? details?.cached_tokens) ?? usage.cached;
  }
  const timings = message.timings as Record<string, unknown> | null | undefined;
  if (!timings) return;
  usage.input = number(timings.prompt_n) ?? usage.input;
  usage.output = number(timings.predicted_n) ?? usage.output;
  usage.cached = number(timings.cache_n) ?? usage.cached;
  usage.promptSpeed = number(timings.prompt_per_second);
  usage.speed = number(timings.predicted_per_second);
  usage.drafted = number(timings.draft_n);
  usage.accepted = number(timings.draft_n_accepted);
}

function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
