// One request of the Playground at a time: whether it runs, how long, what came of it.
import { isAbort, messageOf } from "../lib/http";
import { chat as busy } from "./chat-busy.svelte";

export class Job<T> {
  running = $state(false);
  error = $state("");
  value = $state.raw<T | null>(null);
  /** How long the last one took, in milliseconds. */
  tookMs = $state<number | null>(null);
  #abort: AbortController | null = null;

  async run(work: (signal: AbortSignal) => Promise<T>): Promise<void> {
    this.stop();
    const abort = (this.#abort = new AbortController());
    const from = performance.now();
    this.running = true;
    this.error = "";
    busy.others += 1;
    try {
      const value = await work(abort.signal);
      if (this.#abort !== abort) return;
      this.value = value;
      this.tookMs = performance.now() - from;
    } catch (error) {
      if (this.#abort === abort && !isAbort(error)) this.error = messageOf(error);
    } finally {
      busy.others -= 1;
      if (this.#abort === abort) {
        this.running = false;
        this.#abort = null;
      }
    }
  }

  stop(): void {
    this.#abort?.abort();
    this.#abort = null;
    this.running = false;
  }

  clear(): void {
    this.stop();
    this.value = null;
    this.error = "";
  }
}
