// The one stream of events, and what is known through it. See lib/live.ts for what each event does.
import { ApiError, getJson, messageOf, request } from "../lib/http";
import { EVENT_TYPES, emptyState, reconnected, reduce } from "../lib/live";
import { SseParser, textOf } from "../lib/sse";
import { session } from "./session.svelte";
import { toast } from "./toasts.svelte";

export const live = $state(emptyState());

export type Connection = "connecting" | "open" | "lost";

/** `since` is when the connection was lost, in milliseconds; `missing`: the daemon has no such stream. */
export const link = $state<{
  connection: Connection;
  since: number;
  reason: string;
  missing: boolean;
  build: Build | null;
  newBuild: boolean;
}>({ connection: "connecting", since: 0, reason: "", missing: false, build: null, newBuild: false });

export interface Build {
  version: string;
  commit: string;
  build_date: string;
}

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 5000;
/** The daemon says something at least every 15 s; after three silences nobody is there. */
const SILENCE_MS = 45_000;
/** How long a hidden tab keeps its stream. */
const HIDDEN_MS = 60_000;

type Subscriber = (type: string) => void;
const subscribers = new Set<Subscriber>();

/** `subscriber` is called after each event that was applied; returns how to stop it. */
export function onEvent(subscriber: Subscriber): () => void {
  subscribers.add(subscriber);
  return () => subscribers.delete(subscriber);
}

let running: AbortController | null = null;
let wake: (() => void) | null = null;
let parked = false;

export function connect(): void {
  if (running) return;
  running = new AbortController();
  void stay(running.signal);
}

export function disconnect(): void {
  running?.abort();
  running = null;
}

export function retryNow(): void {
  wake?.();
}

async function stay(stopped: AbortSignal): Promise<void> {
  let delay = FIRST_RETRY_MS;
  while (!stopped.aborted) {
    try {
      await follow(stopped, () => (delay = FIRST_RETRY_MS));
      lost("The daemon closed the connection.");
    } catch (error) {
      if (stopped.aborted) return;
      link.missing = error instanceof ApiError && error.missing;
      lost(messageOf(error));
      if (error instanceof ApiError && error.status === 401) return void (running = null);
    }
    await pause(delay * (0.8 + Math.random() * 0.4), stopped);
    delay = Math.min(delay * 2, LAST_RETRY_MS);
  }
}

function lost(reason: string): void {
  if (parked) return;
  if (link.connection !== "lost") link.since = Date.now();
  link.connection = "lost";
  link.reason = reason;
}

function pause(ms: number, stopped: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, parked ? 1e9 : ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
    stopped.addEventListener("abort", () => wake?.(), { once: true });
  });
}

/** One connection, from the request to its end. */
async function follow(stopped: AbortSignal, opened: () => void): Promise<void> {
  const attempt = new AbortController();
  const stop = () => attempt.abort();
  stopped.addEventListener("abort", stop, { once: true });
  let silence = setTimeout(stop, SILENCE_MS);
  parkWhenHidden = stop;
  try {
    const response = await request(`api/events?types=${EVENT_TYPES.join(",")}`, {
      headers: { Accept: "text/event-stream" },
      signal: attempt.signal,
    });
    reconnected(live);
    link.connection = "open";
    link.missing = false;
    opened();
    void checkBuild();
    const parser = new SseParser();
    for await (const text of textOf(response.body!)) {
      clearTimeout(silence);
      silence = setTimeout(stop, SILENCE_MS);
      for (const { data } of parser.push(text)) apply(data);
    }
  } catch (error) {
    if (attempt.signal.aborted && !stopped.aborted) throw new ApiError("The daemon has gone silent.", 0);
    throw error;
  } finally {
    clearTimeout(silence);
    stopped.removeEventListener("abort", stop);
    parkWhenHidden = null;
  }
}

function apply(frame: string): void {
  const before = live.notices.length;
  const type = reduce(live, frame, Date.now());
  if (!type) return;
  if (type === "notice" && live.notices.length !== before) {
    const notice = live.notices.at(-1)!;
    toast(notice.text, /err|warn/i.test(notice.level) ? "bad" : "info");
  }
  for (const subscriber of subscribers) subscriber(type);
}

async function checkBuild(): Promise<void> {
  try {
    const build = await getJson<Build>("api/version");
    if (link.build && (build.version !== link.build.version || build.commit !== link.build.commit))
      link.newBuild = true;
    link.build ??= build;
  } catch {
    // Not allowed to know, or gone again.
  }
}

let parkWhenHidden: (() => void) | null = null;
let hiddenTimer: ReturnType<typeof setTimeout> | undefined;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) {
    hiddenTimer = setTimeout(() => {
      parked = true;
      parkWhenHidden?.();
    }, HIDDEN_MS);
  } else if (parked) {
    parked = false;
    link.connection = "connecting";
    wake?.();
  }
});

export function inflightCount(): number {
  return Object.keys(live.inflight).length;
}

export function isAdmin(): boolean {
  return session.value.admin;
}
