// The shapes of the control API, as far as the pages look at them. Optional means: older daemons leave it out.

export interface Capabilities {
  vision?: boolean;
  audio_transcriptions?: boolean;
  audio_speech?: boolean;
  image_generation?: boolean;
  image_to_image?: boolean;
  function_calling?: boolean;
  reranker?: boolean;
}

export interface ModelEntry {
  id: string;
  name: string;
  description: string;
  state: string;
  unlisted: boolean;
  peerID: string;
  aliases?: string[];
  capabilities?: Capabilities;
  context_length?: number;
  pid?: number | null;
  port?: number | null;
  started_at?: string | null;
  ready_at?: string | null;
  load_ms?: number | null;
  last_used_at?: string | null;
  ttl_s?: number | null;
  expires_at?: string | null;
  inflight?: number;
  queued?: number;
  rss_mb?: number | null;
  vram?: { gpu: string | number; mb: number }[] | null;
  last_error?: string | LastError | null;
  pinned_by?: string | null;
  outdated?: boolean;
}

export interface LastError {
  message?: string;
  at?: string;
  exit_code?: number | null;
  signal?: string | number | null;
}

export interface ModelStart {
  started_at: string | null;
  ready_at: string | null;
  ended_at: string | null;
  outcome: string | null;
  exit_code: number | null;
  signal: string | number | null;
  reason: string | null;
}

export interface ModelDetail extends ModelEntry {
  cmd?: string[];
  proxy?: string;
  cwd?: string | null;
  env_names?: string[];
  cmd_stop?: string | string[] | null;
  metadata?: Record<string, unknown> | null;
  concurrency?: { limit: number | null; reserved: number; queued: number } | null;
  starts?: ModelStart[];
  groups?: string[];
  sets?: (string | string[])[];
  would_evict?: string[];
  selectors?: string[];
  profiles?: string[];
  breaker?: { state: string; failures: number; retry_at: string | null } | null;
}

export interface ModelProgress {
  model: string;
  phase: string;
  since_ms: number;
  evicting?: string[];
  queue_pos?: number | null;
  detail?: string | null;
}

export interface InflightEntry {
  id: string;
  timestamp: string;
  model: string;
  req_path: string;
  method: string;
  req_headers: Record<string, string>;
  remote_ip: string;
  resp_headers: Record<string, string>;
  resp_bytes: number;
  elapsed_ms: number;
  metadata?: Record<string, string>;
}

export interface Problem {
  severity?: string;
  level?: string;
  code?: string;
  message: string;
  file?: string | null;
  line?: number | null;
  column?: number | null;
  col?: number | null;
  hint?: string | null;
  snippet?: string | null;
  path?: string | null;
}

export interface ConfigStatus {
  generation: number;
  state: "ok" | "rejected" | "reloading";
  sources: { path: string; sha256: string; mtime: string | number }[];
  loaded_at: string;
  trigger: string;
  error: { message: string; problems: Problem[] } | null;
  changes: Partial<Record<"added" | "removed" | "restarted" | "updated" | "unchanged", string[]>> | null;
  needs_restart: string[];
}

export interface Notice {
  level: string;
  text: string;
  at: string;
}

export interface SysSample {
  timestamp: string;
  cpu_util_per_core: number[];
  cpu_util_pct?: number | null;
  mem_total_mb: number;
  mem_used_mb: number;
  mem_free_mb: number;
  mem_available_mb?: number | null;
  swap_total_mb: number;
  swap_used_mb: number;
  load_avg_1: number;
  load_avg_5: number;
  load_avg_15: number;
  net_io: { name: string; bytes_recv: number; bytes_sent: number }[];
}

export interface GpuSample {
  timestamp: string;
  id: number;
  name: string;
  uuid: string;
  temp_c: number | null;
  vram_temp_c: number | null;
  gpu_util_pct: number | null;
  mem_util_pct: number | null;
  mem_used_mb: number | null;
  mem_total_mb: number | null;
  fan_speed_pct: number | null;
  power_draw_w: number | null;
  power_limit_w?: number | null;
  sm_clock_mhz?: number | null;
  procs?: { pid: number; mem_mb: number | null; model: string | null }[] | null;
  unknown?: string[];
}

export interface Performance {
  enabled: boolean;
  sys_stats: SysSample[] | null;
  gpu_stats: GpuSample[] | null;
  probes?: { source: string; ok: boolean; message: string }[];
}

export interface Session {
  required: boolean;
  authenticated: boolean;
  name: string | null;
  admin: boolean;
  models: string[] | null;
}

export interface Tokens {
  cache_tokens: number;
  draft_tokens: number;
  draft_acc_tokens: number;
  input_tokens: number;
  output_tokens: number;
  prompt_per_second: number;
  tokens_per_second: number;
}

export interface ActivityRow {
  id: number;
  timestamp: string;
  ts_ms?: number;
  model: string;
  req_path: string;
  resp_content_type: string;
  resp_status_code: number;
  tokens: Tokens;
  duration_ms: number;
  has_capture: boolean;
  error_msg?: string;
  metadata?: Record<string, string>;
  method?: string;
  stream?: boolean;
  requested_model?: string;
  profile?: string;
  upstream?: string;
  client?: string;
  session?: string;
  queue_ms?: number;
  load_ms?: number;
  ttft_ms?: number;
  ts_first_byte_ms?: number;
  req_bytes?: number;
  resp_bytes?: number;
  finish_reason?: string;
  cancelled?: boolean;
  config_generation?: number;
}

export interface ActivityPage {
  data: ActivityRow[];
  page: number;
  limit: number;
  total: number;
  total_pages: number;
}

export interface Histogram {
  bins: number[];
  min: number;
  max: number;
  binSize: number;
  p50: number;
  p95: number;
  p99: number;
}

type Percentiles = { p50: number; p95: number; p99: number } | null;

export interface ActivityStats {
  total_requests: number;
  total_input_tokens: number;
  total_output_tokens: number;
  total_cache_tokens: number;
  prompt_histogram: Histogram | null;
  gen_histogram: Histogram | null;
  error_rate?: number | null;
  ttft_ms?: Percentiles;
  queue_ms?: Percentiles;
  load_ms?: Percentiles;
}

export interface Capture {
  id: number;
  req_path: string;
  req_headers: Record<string, string> | null;
  req_body: string | null;
  resp_headers: Record<string, string> | null;
  resp_body: string | null;
  req_query?: string;
  req_header_values?: Record<string, string[]>;
  resp_header_values?: Record<string, string[]>;
  truncated?: boolean;
  resp_frames?: [number, number][];
}

export interface Profiles {
  active: string | null;
  profiles: { id: string; description: string; pins: Record<string, string> }[];
}

/** A record of `/v1/models`. */
export interface ListedModel {
  id: string;
  name?: string;
  description?: string;
  capabilities?: Capabilities;
  context_length?: number;
  status?: { value: string };
  meta?: {
    n_ctx?: number;
    llamaswap?: {
      type?: "model" | "alias" | "peer" | "selector" | "profile";
      aliases?: string[];
      modelID?: string;
      peerID?: string;
      strategy?: string;
      targets?: string[];
      spillover?: number;
    };
  };
}
