// The data of the stand-in: a small machine with two cards on an ordinary evening.
import type { ActivityRow, Capture, ConfigStatus, GpuSample, ModelDetail, ModelEntry, Problem, SysSample } from "../src/lib/types";

const now = Date.now();
const before = (ms: number) => new Date(now - ms).toISOString();

function model(id: string, more: Partial<ModelEntry> = {}): ModelEntry {
  return { id, name: "", description: "", state: "stopped", unlisted: false, peerID: "", ...more };
}

export const models: ModelEntry[] = [
  model("bge-m3", { description: "Embeddings", ready_at: before(8_000_000), started_at: before(8_003_000), load_ms: 1240, state: "ready", ttl_s: 0, rss_mb: 640, vram: [{ gpu: 1, mb: 1180 }], inflight: 0, queued: 0, last_used_at: before(42_000), pid: 3111 }),
  model("bge-reranker-v2", { capabilities: { reranker: true }, last_used_at: before(9e6) }),
  model("flux-schnell", { name: "FLUX.1 schnell", capabilities: { image_generation: true, image_to_image: true } }),
  model("gemma3-27b", { capabilities: { vision: true }, context_length: 131_072, last_used_at: before(5e7) }),
  model("gpt-oss-20b", { name: "GPT-OSS 20B", aliases: ["gpt-oss", "oss"], capabilities: { function_calling: true }, context_length: 131_072, state: "starting", started_at: before(6000), queued: 2, inflight: 0, pid: 4117 }),
  model("mistral-small-24b", { last_error: { message: "CUDA error: out of memory", exit_code: 1, at: before(190_000) }, context_length: 32_768 }),
  model("qwen3-coder-30b", { name: "Qwen3 Coder 30B", description: "The one for code", aliases: ["coder", "gpt-4o"], capabilities: { function_calling: true }, context_length: 262_144, state: "ready", pid: 3984, port: 5801, ready_at: before(2_460_000), started_at: before(2_472_000), load_ms: 11_820, ttl_s: 900, expires_at: new Date(now + 612_000).toISOString(), inflight: 1, queued: 0, rss_mb: 3120, vram: [{ gpu: 0, mb: 18_640 }], last_used_at: before(2000) }),
  model("whisper-large-v3", { capabilities: { audio_transcriptions: true }, unlisted: true }),
  model("attic/llama3.3-70b", { peerID: "attic", state: "" }),
  model("attic/qwen3-235b", { peerID: "attic", state: "" }),
];

export function modelDetail(id: string): ModelDetail | null {
  const entry = models.find((known) => known.id === id || known.aliases?.includes(id));
  if (!entry) return null;
  return {
    ...entry,
    cmd: ["llama-server", "--port", "5801", "-m", `/models/${entry.id}.gguf`, "--ctx-size", "262144", "--flash-attn", "on", "--api-key", "***"],
    proxy: "http://127.0.0.1:5801",
    cwd: null,
    env_names: ["CUDA_VISIBLE_DEVICES"],
    cmd_stop: null,
    metadata: { quant: "Q4_K_M", source: "unsloth" },
    concurrency: { limit: 10, reserved: entry.inflight ?? 0, queued: entry.queued ?? 0 },
    starts: [
      { started_at: entry.started_at ?? before(9e5), ready_at: entry.ready_at ?? null, ended_at: null, outcome: "ready", exit_code: null, signal: null, reason: null },
      { started_at: before(9e6), ready_at: before(8.98e6), ended_at: before(7e6), outcome: "stopped", exit_code: 0, signal: null, reason: "idle" },
      { started_at: before(2e7), ready_at: null, ended_at: before(1.99e7), outcome: "failed", exit_code: 1, signal: null, reason: "exited before it was ready" },
    ],
    groups: ["default"],
    would_evict: ["gpt-oss-20b"],
    selectors: ["auto"],
    profiles: ["coding"],
    breaker: null,
  };
}

const PATHS = ["/v1/chat/completions", "/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v1/responses"];

function noise(n: number): number {
  const x = Math.sin(n * 127.1) * 43_758.5453;
  return x - Math.floor(x);
}

export function activityRows(count: number): ActivityRow[] {
  return Array.from({ length: count }, (_, index) => {
    const id = count - index;
    const r = noise(id);
    const path = PATHS[Math.floor(r * PATHS.length)]!;
    const failed = noise(id + 0.3) > 0.94;
    const embedding = path.endsWith("embeddings");
    const input = failed ? 0 : Math.floor(20 + noise(id + 1) * 3800);
    const output = failed || embedding ? 0 : Math.floor(12 + noise(id + 2) * 900);
    const at = now - index * 97_000 - Math.floor(r * 60_000);
    return {
      id,
      timestamp: new Date(at).toISOString(),
      ts_ms: at,
      model: embedding ? "bge-m3" : noise(id + 5) > 0.4 ? "qwen3-coder-30b" : "gpt-oss-20b",
      req_path: path,
      method: "POST",
      resp_content_type: embedding || failed ? "application/json" : "text/event-stream",
      resp_status_code: failed ? 503 : 200,
      tokens: {
        cache_tokens: failed || embedding ? -1 : Math.floor(noise(id + 3) * input),
        draft_tokens: output > 400 ? 120 : -1,
        draft_acc_tokens: output > 400 ? 84 : -1,
        input_tokens: input,
        output_tokens: output,
        prompt_per_second: failed ? -1 : 620 + noise(id + 4) * 500,
        tokens_per_second: output ? 42 + noise(id + 6) * 36 : -1,
      },
      duration_ms: Math.floor(300 + output * 18 + (id % 17 === 0 ? 11_800 : 0)),
      has_capture: index < 60 && !failed,
      ...(failed ? { error_msg: "the model did not get its turn within 60 s" } : {}),
      metadata: { key: noise(id + 7) > 0.5 ? "open-webui" : "laptop", fifo_priority: "0" },
      session: noise(id + 8) > 0.6 ? "swpg-k3x9a" : "",
      client: "192.168.1.23",
      stream: !embedding,
      queue_ms: Math.floor(noise(id + 9) * 40),
      load_ms: id % 17 === 0 ? 11_800 : 0,
      ttft_ms: Math.floor(120 + noise(id + 10) * 900),
      req_bytes: input * 4,
      resp_bytes: output * 180,
      finish_reason: failed ? "" : "stop",
    };
  });
}

export function captureOf(row: ActivityRow): Capture {
  const request = {
    model: row.model,
    stream: true,
    messages: [
      { role: "system", content: "You are a helpful assistant." },
      { role: "user", content: "How many birds are there? <img src=x onerror=alert(1)>" },
    ],
  };
  const words = ["There", " are", " about", " **11,000**", " species", " of", " birds", "."];
  const frames: [number, number][] = [];
  let stream = "";
  words.forEach((content, index) => {
    frames.push([180 + index * 21 + (index > 4 ? 60 : 0), stream.length]);
    const delta = index === 0 ? { reasoning_content: "Ornithology. ", content } : { content };
    stream += `data: ${JSON.stringify({ choices: [{ delta }] })}\n\n`;
  });
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  return {
    id: row.id,
    req_path: row.req_path,
    req_headers: { "Content-Type": "application/json", Authorization: "[REDACTED]", "User-Agent": "openai-python/2.1" },
    req_body: base64(JSON.stringify(request)),
    resp_headers: { "Content-Type": "text/event-stream", Server: "llama.cpp" },
    resp_body: base64(`${stream}data: [DONE]\n\n`),
    resp_frames: frames,
  };
}

export function history(rows: ActivityRow[]) {
  const sum = (of: (row: ActivityRow) => number) => rows.reduce((n, row) => n + Math.max(0, of(row)), 0);
  const histogram = (values: number[]) => {
    const sorted = values.filter((value) => value > 0).sort((a, b) => a - b);
    const min = sorted[0]!;
    const max = sorted.at(-1)!;
    const bins = new Array<number>(10).fill(0);
    const binSize = (max - min) / 10;
    for (const value of sorted) bins[Math.min(9, Math.floor((value - min) / binSize))]! += 1;
    const at = (p: number) => sorted[Math.floor(((sorted.length - 1) * p) / 100)]!;
    return { bins, min, max, binSize, p50: at(50), p95: at(95), p99: at(99) };
  };
  return {
    total_requests: rows.length,
    total_input_tokens: sum((row) => row.tokens.input_tokens),
    total_output_tokens: sum((row) => row.tokens.output_tokens),
    total_cache_tokens: sum((row) => row.tokens.cache_tokens),
    prompt_histogram: histogram(rows.map((row) => row.tokens.prompt_per_second)),
    gen_histogram: histogram(rows.map((row) => row.tokens.tokens_per_second)),
    error_rate: rows.filter((row) => row.resp_status_code >= 400).length / rows.length,
    ttft_ms: { p50: 412, p95: 980, p99: 1020 },
    queue_ms: { p50: 2, p95: 38, p99: 40 },
    load_ms: { p50: 0, p95: 11_800, p99: 11_800 },
  };
}

const LINES: [string | null, string, string | null, string][] = [
  ["info", "proxy", null, 'POST /v1/chat/completions 200 "openai-python/2.1" 4213 B 1.832 s'],
  [null, "upstream", "qwen3-coder-30b", "srv  log_server_r: done request: POST /v1/chat/completions 127.0.0.1 200"],
  [null, "upstream", "qwen3-coder-30b", "slot update_slots: id  0 | task 812 | prompt processing progress, n_tokens = 2048"],
  ["debug", "proxy", null, "qwen3-coder-30b: idle for 15 m 0 s"],
  ["warn", "upstream", "gpt-oss-20b", "\u001b[33mwarning\u001b[0m: n_ctx_per_seq (131072) < n_ctx_train (262144)"],
  [null, "upstream", "gpt-oss-20b", "\u001b[1mllama_context\u001b[0m: \u001b[32mCUDA0\u001b[0m compute buffer size = 398.38 MiB"],
  ["error", "upstream", "mistral-small-24b", "CUDA error: out of memory\u0007 <script>alert(1)</script>"],
];

export function logRecord(seq: number) {
  const [level, source, model_, text] = LINES[Math.floor(noise(seq) * LINES.length)]!;
  return { seq, ts: new Date(Math.min(Date.now(), now - 90_000 + seq * 400)).toISOString(), level, source, model: model_, text };
}

const wave = (at: number, period: number, phase = 0) => (Math.sin(at / period + phase) + 1) / 2;

export function sysSample(at: number): SysSample {
  const cores = Array.from({ length: 16 }, (_, core) => Math.round(100 * (0.08 + 0.5 * wave(at, 90_000, core) * noise(at + core))));
  return {
    timestamp: new Date(at).toISOString(),
    cpu_util_per_core: cores,
    mem_total_mb: 64_180,
    mem_used_mb: Math.round(21_000 + 9000 * wave(at, 400_000)),
    mem_free_mb: 20_000,
    swap_total_mb: 8192,
    swap_used_mb: 310,
    load_avg_1: 2.1 + 2 * wave(at, 120_000),
    load_avg_5: 2.4 + wave(at, 400_000),
    load_avg_15: 2.2,
    net_io: [{ name: "enp5s0", bytes_recv: at * 0.9 + 4e6 * wave(at, 60_000), bytes_sent: at * 0.3 }],
  };
}

export function gpuSample(at: number, id: number): GpuSample {
  const busy = wave(at, 70_000 + id * 30_000, id);
  const coder = 18_640;
  const embedding = 1180;
  const other = at % 900_000 > 450_000 ? 12_800 : 0;
  const used = id === 0 ? coder + 380 : embedding + other + 300;
  return {
    timestamp: new Date(at).toISOString(),
    id,
    name: "NVIDIA GeForce RTX 3090",
    uuid: `GPU-${id}`,
    temp_c: Math.round(41 + 28 * busy),
    vram_temp_c: Math.round(50 + 30 * busy),
    gpu_util_pct: Math.round(100 * busy * (id === 0 ? 0.95 : 0.4)),
    mem_util_pct: (used / 24_576) * 100,
    mem_used_mb: used,
    mem_total_mb: 24_576,
    fan_speed_pct: Math.round(30 + 40 * busy),
    power_draw_w: Math.round(28 + 300 * busy * (id === 0 ? 1 : 0.4)),
    power_limit_w: 350,
    procs: id === 0 ? [{ pid: 3984, mem_mb: coder, model: "qwen3-coder-30b" }] : [{ pid: 3111, mem_mb: embedding, model: "bge-m3" }, ...(other ? [{ pid: 4117, mem_mb: other, model: "gpt-oss-20b" }] : [])],
  };
}

const PROBLEMS: Problem[] = [
  { severity: "error", code: "wrong-type", message: "ttl must be a number of seconds, not the text \"soon\"", file: "/etc/swapd/config.yaml", line: 41, column: 10, hint: "write a number, for example ttl: 600", snippet: "41 |     ttl: soon\n   |          ^^^^" },
  { severity: "warning", code: "unknown-key", message: "unknown key descripton", file: "/etc/swapd/config.yaml", line: 52, column: 5, hint: "did you mean description?" },
];

export function configStatus(rejected: boolean): ConfigStatus {
  return {
    generation: 7,
    state: rejected ? "rejected" : "ok",
    sources: [{ path: "/etc/swapd/config.yaml", sha256: "9f2c1b7d".repeat(8), mtime: before(400_000) }],
    loaded_at: before(3_600_000),
    trigger: "watch",
    error: rejected ? { message: "2 problems", problems: PROBLEMS } : null,
    changes: { added: ["gemma3-27b"], removed: [], restarted: ["gpt-oss-20b"], updated: ["bge-m3"], unchanged: ["qwen3-coder-30b", "flux-schnell"] },
    needs_restart: ["listen"],
  };
}
