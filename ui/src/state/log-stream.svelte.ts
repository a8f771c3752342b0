// One log of the daemon, followed from its history on. Lines arrive in bursts and are handed on in batches, at
// most ten a second, so that a flood costs no more than its lines.
import { segment } from "../lib/address";
import { ApiError, isAbort, messageOf, request } from "../lib/http";
import { LineSplitter, type LogLine, parseRecord } from "../lib/loglines";
import { textOf } from "../lib/sse";

const BATCH_MS = 100;
const RETRY_MS = 2000;

export class LogStream {
  lines = $state.raw<LogLine[]>([]);
  state = $state<"loading" | "live" | "lost">("loading");
  error = $state<unknown>(null);
  /** Lines that arrived while paused. */
  waiting = $state(0);
  /** How many lines were ever dropped from the front, so that views can keep their place. */
  trimmed = $state(0);

  #paused = false;
  #arrived: LogLine[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;
  #seq: number | null = null;
  #abort = new AbortController();

  constructor(
    readonly source: string,
    readonly most: () => number,
  ) {
    void this.#stay();
  }

  close(): void {
    this.#abort.abort();
    if (this.#timer) clearTimeout(this.#timer);
  }

  pause(paused: boolean): void {
    this.#paused = paused;
    if (!paused) this.#hand();
  }

  clear(): void {
    this.#arrived = [];
    this.waiting = 0;
    this.lines = [];
  }

  async #stay(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        await this.#followAny(signal);
        this.error = null;
      } catch (error) {
        if (isAbort(error) || signal.aborted) return;
        this.error = messageOf(error) ? error : null;
      }
      this.state = "lost";
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  async #followAny(signal: AbortSignal): Promise<void> {
    if (!this.#apart) {
      try {
        return await this.#follow(this.source, signal);
      } catch (error) {
        if (this.source !== "all" || !(error instanceof ApiError) || error.status !== 400) throw error;
        // A daemon that has no log of everything has both halves of it.
        this.#apart = true;
      }
    }
    this.clear();
    await Promise.race(["proxy", "upstream"].map((source) => this.#follow(source, signal)));
  }

  async #follow(source: string, signal: AbortSignal): Promise<void> {
    const since = this.#seq === null ? "" : `&since=${this.#seq}`;
    const response = await request(`logs/stream/${segment(source)}?format=ndjson${since}`, { signal });
    const asText = !response.headers.get("Content-Type")?.includes("ndjson");
    // Plain text has no cursor: what comes again replaces what was there.
    if (asText && this.lines.length && !this.#apart) this.clear();
    this.state = "live";
    this.error = null;
    const splitter = new LineSplitter();
    for await (const text of textOf(response.body!)) {
      for (const line of splitter.push(text)) {
        const record = parseRecord(line, asText);
        if (!record) continue;
        if (this.#apart) record.source ||= source;
        if (record.seq !== null) {
          // A restarted daemon counts from the beginning again.
          if (this.#seq !== null && record.seq < this.#seq && record.seq > 1 && since) continue;
          this.#seq = record.seq;
        }
        this.#arrived.push(record);
      }
      this.#timer ??= setTimeout(() => this.#hand(), BATCH_MS);
    }
  }

  #apart = false;

  #hand(): void {
    this.#timer = null;
    const most = this.most();
    if (this.#arrived.length > most) this.#arrived = this.#arrived.slice(-most);
    if (this.#paused) {
      this.waiting = this.#arrived.length;
      return;
    }
    if (!this.#arrived.length) return;
    const all = this.lines.concat(this.#arrived);
    this.#arrived = [];
    this.waiting = 0;
    // A little more than the limit before cutting, so that a flood does not copy everything each time.
    if (all.length > most * 1.1) {
      this.trimmed += all.length - most;
      this.lines = all.slice(-most);
    } else this.lines = all;
  }
}
