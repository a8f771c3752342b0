// What the events of the daemon add up to. Pure: a state, a message, the state after it.
import type { ConfigStatus, GpuSample, InflightEntry, ModelEntry, ModelProgress, Notice, SysSample } from "./types";

/** The event types the app asks for. Log text is left out: log pages open streams of their own. */
export const EVENT_TYPES = [
  "modelStatus",
  "uiConfig",
  "profileChanged",
  "inflight",
  "activity",
  "modelProgress",
  "configStatus",
  "notice",
  "shutdown",
  "perfsys",
  "perfgpu",
] as const;

export const KEPT_NOTICES = 20;

export interface LiveState {
  /** null until the daemon has said so. */
  models: ModelEntry[] | null;
  progress: Record<string, ModelProgress & { received: number }>;
  inflight: Record<string, InflightEntry & { received: number }>;
  sessionHeaders: string[];
  activeProfile: string | null;
  config: ConfigStatus | null;
  notices: (Notice & { key: number })[];
  shutdown: { reason: string; deadline_ms: number | null } | null;
  /** The newest activity row the daemon told of; 0 before the first. */
  lastActivity: number;
  sys: SysSample | null;
  gpus: Record<string, GpuSample>;
}

export function emptyState(): LiveState {
  return {
    models: null,
    progress: {},
    inflight: {},
    sessionHeaders: ["X-Session-ID", "X-Litellm-Session-Id"],
    activeProfile: null,
    config: null,
    notices: [],
    shutdown: null,
    lastActivity: 0,
    sys: null,
    gpus: {},
  };
}

/** A new connection: what the daemon will not repeat is dropped, what it will repeat stays until it does. */
export function reconnected(state: LiveState): void {
  state.progress = {};
  state.shutdown = null;
}

/**
 * Apply one frame of `/api/events`, `{"type": …, "data": "<JSON text>"}`. What cannot be read and what is of a
 * type nobody here knows is ignored, so that a newer daemon can say more. `now` is in milliseconds.
 */
export function reduce(state: LiveState, frame: string, now: number): string | null {
  let type: unknown;
  let data: unknown;
  try {
    const envelope = JSON.parse(frame) as { type?: unknown; data?: unknown };
    type = envelope.type;
    data = typeof envelope.data === "string" ? JSON.parse(envelope.data) : envelope.data;
  } catch {
    return null;
  }
  if (typeof type !== "string" || !Object.hasOwn(reducers, type)) return null;
  reducers[type as keyof typeof reducers](state, data as never, now);
  return type;
}

const reducers = {
  modelStatus(state: LiveState, models: ModelEntry[]) {
    if (!Array.isArray(models)) return;
    state.models = models;
    for (const id of Object.keys(state.progress)) {
      const model = models.find((entry) => entry.id === id);
      const state_ = model?.state ?? "";
      const over = state_ === "ready" || (state_ === "stopped" && !WAITING.has(state.progress[id]!.phase));
      if (!model || over) delete state.progress[id];
    }
  },
  modelProgress(state: LiveState, progress: ModelProgress, now: number) {
    if (progress.phase === "ready") delete state.progress[progress.model];
    else state.progress[progress.model] = { ...progress, received: now };
  },
  inflight(state: LiveState, change: InflightChange, now: number) {
    if (change.operation === "snapshot") {
      const entries = (change.requests ?? []).map((entry) => [entry.id, { ...entry, received: now }] as const);
      state.inflight = Object.fromEntries(entries);
    } else if (change.operation === "upsert") {
      state.inflight[change.request.id] = { ...change.request, received: now };
    } else if (change.operation === "remove") {
      delete state.inflight[change.id];
    }
  },
  uiConfig(state: LiveState, config: { activity?: { session_id?: string[] } }) {
    state.sessionHeaders = config?.activity?.session_id ?? [];
  },
  profileChanged(state: LiveState, change: { active: string | null }) {
    state.activeProfile = change?.active ?? null;
  },
  configStatus(state: LiveState, status: ConfigStatus) {
    state.config = status;
  },
  notice(state: LiveState, notice: Notice, now: number) {
    const key = (state.notices.at(-1)?.key ?? now) + 1;
    state.notices = [...state.notices, { ...notice, key }].slice(-KEPT_NOTICES);
  },
  shutdown(state: LiveState, shutdown: { reason: string; deadline_ms: number | null }) {
    state.shutdown = shutdown;
  },
  activity(state: LiveState, row: { id: number }) {
    state.lastActivity = Math.max(state.lastActivity, row?.id ?? 0);
  },
  perfsys(state: LiveState, sample: SysSample) {
    state.sys = sample;
  },
  perfgpu(state: LiveState, sample: GpuSample) {
    state.gpus[sample.uuid || String(sample.id)] = sample;
  },
};

const WAITING = new Set(["queued", "evicting", "spawning", "failed"]);

type InflightChange =
  | { operation: "snapshot"; requests?: InflightEntry[] }
  | { operation: "upsert"; request: InflightEntry }
  | { operation: "remove"; id: string };
