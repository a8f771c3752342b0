// The load test: a queue of requests, so many at a time, each followed from its start to its last token.
import { Assembler } from "../lib/chat";
import { isAbort, messageOf, request } from "../lib/http";
import type { Phase, Run } from "../lib/playground";
import { SseParser, textOf } from "../lib/sse";
import { SESSION, chat as busy } from "./chat-busy.svelte";
import { live } from "./live.svelte";

export interface Plan {
  models: string[];
  prompt: string;
  maxTokens: number;
  /** How often each model of the queue is asked. */
  repeat: number;
  /** At most so many requests at a time; 0 is all at once. */
  concurrency: number;
  /** Milliseconds between two starts at the beginning. */
  rampMs: number;
  /** Begin each prompt with other words, so that no cache helps. */
  vary: boolean;
}

const SHOWN_MS = 100;
const MOST_RUNS = 2000;

export class LoadTest {
  runs = $state.raw<Run[]>([]);
  running = $state(false);
  /** Milliseconds since it began. */
  elapsed = $state(0);
  #abort: AbortController | null = null;
  #began = 0;

  start(plan: Plan): void {
    this.stop();
    const abort = (this.#abort = new AbortController());
    this.#began = performance.now();
    const models = Array.from({ length: plan.repeat }, () => plan.models).flat().slice(0, MOST_RUNS);
    const runs = models.map((model, key): Run => ({ key, model, status: "queued", started: 0, ended: null, phases: [], text: "", error: "", ttft: null, tokens: null, speed: null }));
    this.runs = runs.map((run) => ({ ...run }));
    this.running = true;
    busy.others += 1;
    // What has changed is shown ten times a second, not with each token of each stream.
    const timer = setInterval(() => this.#show(runs), SHOWN_MS);
    void this.#all(runs, plan, abort.signal).finally(() => {
      clearInterval(timer);
      busy.others -= 1;
      if (this.#abort !== abort) return;
      this.#abort = null;
      this.#show(runs);
      this.running = false;
    });
  }

  stop(): void {
    this.#abort?.abort();
  }

  clear(): void {
    this.stop();
    this.#abort = null;
    this.runs = [];
    this.running = false;
    this.elapsed = 0;
  }

  #now(): number {
    return performance.now() - this.#began;
  }

  #show(runs: readonly Run[]): void {
    this.elapsed = this.#now();
    for (const run of runs) {
      // Where the daemon does not tell of the loading in the answer itself, the state of the model does.
      if (run.status !== "running" || run.phases.at(-1)?.phase !== "waiting") continue;
      const state = live.models?.find(({ id, aliases }) => id === run.model || aliases?.includes(run.model))?.state;
      if (state === "starting") run.phases.push({ phase: "loading", at: this.elapsed });
    }
    this.runs = runs.map((run) => ({ ...run }));
  }

  async #all(runs: Run[], plan: Plan, signal: AbortSignal): Promise<void> {
    let next = 0;
    const work = async (first: number) => {
      await wait(first * plan.rampMs, signal);
      while (next < runs.length && !signal.aborted) await this.#one(runs[next++]!, plan, signal);
    };
    const workers = plan.concurrency > 0 ? Math.min(plan.concurrency, runs.length) : runs.length;
    await Promise.all(Array.from({ length: workers }, (_, index) => work(index)));
    for (const run of runs) if (run.status === "queued") run.status = "stopped";
  }

  async #one(run: Run, plan: Plan, signal: AbortSignal): Promise<void> {
    const assembler = new Assembler(run.model, this.#now());
    const enter = (phase: Phase) => {
      if (run.phases.at(-1)?.phase !== phase) run.phases.push({ phase, at: this.#now() });
    };
    run.status = "running";
    run.started = this.#now();
    enter("waiting");
    try {
      const response = await request("v1/chat/completions", {
        method: "POST",
        headers: { "X-Session-ID": SESSION },
        signal,
        json: {
          model: run.model,
          stream: true,
          stream_options: { include_usage: true },
          max_tokens: plan.maxTokens,
          messages: [{ role: "user", content: plan.vary ? `(${crypto.getRandomValues(new Uint32Array(1))[0]!.toString(36)}) ${plan.prompt}` : plan.prompt }],
        },
      });
      const parser = new SseParser();
      const take = (payloads: { data: string }[]) => {
        for (const { data } of payloads) {
          assembler.push(data, this.#now());
          if (assembler.text) enter("streaming");
          else if (assembler.answer.reasoning) enter("reasoning");
          else if (assembler.answer.loading) enter("loading");
        }
        run.text = assembler.text || assembler.answer.reasoning || assembler.answer.loading;
      };
      for await (const text of textOf(response.body!)) take(parser.push(text));
      take(parser.end());
      assembler.end(this.#now());
      if (assembler.answer.error) throw new Error(assembler.answer.error);
      run.status = "done";
    } catch (error) {
      run.status = isAbort(error) ? "stopped" : "error";
      if (run.status === "error") run.error = messageOf(error);
    }
    run.ended = this.#now();
    run.ttft = assembler.answer.ttftMs;
    run.tokens = assembler.answer.usage.output;
    run.speed = assembler.answer.usage.speed;
  }
}

function wait(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
