import { isAbort } from "../lib/http";

/** Something that is asked for, and asked for again: the newest answer wins, an old one stays until then. */
export class Loader<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<unknown>(null);
  busy = $state(false);
  #abort: AbortController | null = null;

  async load(ask: (signal: AbortSignal) => Promise<T>): Promise<void> {
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    this.busy = true;
    try {
      const value = await ask(abort.signal);
      if (abort.signal.aborted) return;
      this.value = value;
      this.error = null;
    } catch (error) {
      if (isAbort(error) || abort.signal.aborted) return;
      this.error = error;
    } finally {
      if (this.#abort === abort) this.busy = false;
    }
  }

  stop(): void {
    this.#abort?.abort();
  }
}
