// The chat of the Playground: the conversations, the one that is open, and the request that runs.
import { Assembler, ENDPOINT_PATHS, type Parameters, DEFAULTS, type Picture, type Turn, newAnswer, requestBody } from "../lib/chat";
import { type ConversationInfo, titleFrom } from "../lib/conversations";
import { getJson, isAbort, messageOf, request } from "../lib/http";
import { SseParser, textOf } from "../lib/sse";
import type { ActivityPage } from "../lib/types";
import { SESSION, chat as busy } from "./chat-busy.svelte";
import { store } from "./conversations";
import { Stored } from "./stored.svelte";
import { failed } from "./toasts.svelte";

export const parameters = new Stored<Parameters>("playground.chat", DEFAULTS);
export const chosen = new Stored("playground.model", { model: "" });


function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (n) => n.toString(16).padStart(2, "0")).join("");
}

class Chat {
  list = $state.raw<ConversationInfo[]>([]);
  id = $state(newId());
  turns = $state.raw<Turn[]>([]);
  /** What has arrived of the answer that is being written; null when none is. */
  current = $state.raw<Turn | null>(null);
  /** Turn id → the id of its row in Activity. */
  rows = $state<Record<string, number>>({});
  #abort: AbortController | null = null;
  #title = "";

  get running(): boolean {
    return this.current !== null;
  }

  async refresh(): Promise<void> {
    this.list = await store.list().catch(() => []);
  }

  async open(id: string): Promise<void> {
    this.stop();
    this.turns = await store.turns(id);
    this.id = id;
    const info = this.list.find((entry) => entry.id === id);
    this.#title = info?.title ?? "";
    if (info?.model) chosen.value.model = info.model;
  }

  fresh(): void {
    this.stop();
    this.id = newId();
    this.turns = [];
    this.#title = "";
  }

  async rename(id: string, title: string): Promise<void> {
    const info = this.list.find((entry) => entry.id === id);
    if (!info || !title.trim()) return;
    if (id === this.id) this.#title = title.trim();
    await store.save({ ...info, title: title.trim(), turns: await store.turns(id) });
    await this.refresh();
  }

  async remove(id: string): Promise<void> {
    await store.remove(id);
    if (id === this.id) this.fresh();
    await this.refresh();
  }

  /** Add what somebody said and ask for the answer. */
  async send(text: string, pictures: Picture[]): Promise<void> {
    const turn: Turn = { id: newId(), role: "user", text, ...(pictures.length ? { pictures } : {}) };
    this.turns = [...this.turns, turn];
    this.#title ||= titleFrom(text);
    await this.#ask();
  }

  /** Say something else at that place; what followed is gone. */
  async edit(id: string, text: string): Promise<void> {
    const at = this.turns.findIndex((turn) => turn.id === id);
    if (at < 0) return;
    this.turns = [...this.turns.slice(0, at), { ...this.turns[at]!, text }];
    await this.#ask();
  }

  /** Ask again for the answer `id`. */
  async regenerate(id: string): Promise<void> {
    const at = this.turns.findIndex((turn) => turn.id === id);
    if (at < 0) return;
    this.turns = this.turns.slice(0, at);
    await this.#ask();
  }

  stop(): void {
    this.#abort?.abort();
  }

  /** Take over the messages and parameters of a captured request. */
  take(body: string): void {
    const given = JSON.parse(body) as Record<string, unknown>;
    this.fresh();
    const turns = (given.messages ?? given.input ?? []) as { role?: string; content?: unknown }[] | string;
    const list = typeof turns === "string" ? [{ role: "user", content: turns }] : turns;
    const next: Parameters = { ...DEFAULTS };
    next.endpoint = given.input !== undefined ? "responses" : given.system !== undefined ? "messages" : "chat";
    for (const name of ["temperature", "top_p", "top_k", "min_p", "seed", "max_tokens", "presence_penalty", "frequency_penalty", "repeat_penalty"] as const)
      next[name] = given[name] === undefined ? "" : String(given[name]);
    next.system = textIn(given.system ?? given.instructions ?? list.find(({ role }) => role === "system" || role === "developer")?.content);
    parameters.value = next;
    if (typeof given.model === "string") chosen.value.model = given.model;
    this.turns = list
      .filter(({ role }) => role === "user" || role === "assistant")
      .map(({ role, content }) => {
        const pictures = picturesIn(content);
        const turn: Turn = { id: newId(), role: role as Turn["role"], text: textIn(content), ...(pictures.length ? { pictures } : {}) };
        return role === "assistant" ? { ...turn, answer: newAnswer("") } : turn;
      });
    this.#title = titleFrom(this.turns[0]?.text ?? "");
  }

  async #ask(): Promise<void> {
    this.stop();
    const abort = (this.#abort = new AbortController());
    const conversation = this.id;
    const model = chosen.value.model;
    const given = parameters.value;
    const assembler = new Assembler(model, performance.now());
    const id = newId();
    const show = () => (this.current = { id, role: "assistant", text: assembler.text, answer: { ...assembler.answer } });
    let frame = 0;
    show();
    busy.running = true;
    await this.#store();
    try {
      const response = await request(ENDPOINT_PATHS[given.endpoint], {
        method: "POST",
        json: requestBody(model, this.turns, given),
        headers: { "X-Session-ID": SESSION },
        signal: abort.signal,
      });
      const stream = response.headers.get("Content-Type")?.includes("event-stream");
      if (!stream) assembler.push(await response.text(), performance.now());
      else {
        const parser = new SseParser();
        const take = (events: { data: string }[]) => events.every(({ data }) => assembler.push(data, performance.now()));
        for await (const text of textOf(response.body!)) {
          if (!take(parser.push(text))) break;
          // As often as the screen is drawn, not as often as a token comes.
          frame ||= requestAnimationFrame(() => {
            frame = 0;
            if (this.#abort === abort && this.current) show();
          });
        }
        take(parser.end());
      }
      assembler.end(performance.now());
    } catch (error) {
      if (isAbort(error)) assembler.answer.finish = "stopped";
      else assembler.answer.error = messageOf(error);
      assembler.end(performance.now());
    }
    cancelAnimationFrame(frame);
    if (this.#abort !== abort) return;
    this.#abort = null;
    const done: Turn = { id, role: "assistant", text: assembler.text, answer: { ...assembler.answer } };
    this.current = null;
    busy.running = false;
    if (this.id === conversation) this.turns = [...this.turns, done];
    await this.#store();
    void this.#findRow(id);
  }

  async #store(): Promise<void> {
    if (!this.turns.length) return;
    try {
      await store.save({ id: this.id, title: this.#title, model: chosen.value.model, updated: Date.now(), bytes: 0, turns: this.turns });
    } catch (error) {
      failed("Keep the conversation", error);
    }
    await this.refresh();
  }

  async #findRow(turn: string): Promise<void> {
    try {
      const page = await getJson<ActivityPage>(`api/metrics/activity?session=${SESSION}&limit=1`);
      const row = page.data[0];
      if (row && (row.session === SESSION || row.session === undefined)) this.rows[turn] = row.id;
    } catch {
      // Then there is no link.
    }
  }
}

function textIn(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content.map((part: { text?: unknown }) => (typeof part?.text === "string" ? part.text : "")).filter(Boolean).join("\n");
}

function picturesIn(content: unknown): Picture[] {
  if (!Array.isArray(content)) return [];
  return content.flatMap((part: { image_url?: { url?: string } | string }) => {
    const url = typeof part?.image_url === "string" ? part.image_url : part?.image_url?.url;
    return url?.startsWith("data:image/") ? [{ name: "picture", url }] : [];
  });
}

export const chat = new Chat();
