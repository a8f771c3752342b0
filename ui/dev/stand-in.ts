// A daemon for working on the pages: it answers the control API with made-up data, within Vite's server. It is
// no part of the product. `SWAPD_URL=http://127.0.0.1:8080 npm run dev` talks to a real daemon instead.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Plugin, PreviewServer, ViteDevServer } from "vite";
import { activityRows, captureOf, configStatus, gpuSample, history, logRecord, modelDetail, models, sysSample } from "./made-up.ts";

type Answer = (request: IncomingMessage, response: ServerResponse, url: URL) => unknown;

const streams = new Set<(type: string, data: unknown) => void>();
const rows = activityRows(420);
let active: string | null = "coding";
/** Becomes true with the first reload: then there is something to see of a configuration that is not accepted. */
let rejected = false;
let requestIds = 900;
const inflight = new Map<string, Record<string, unknown>>();

function broadcast(type: string, data: unknown): void {
  for (const send of streams) send(type, data);
}

function json(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, message: string): void {
  json(response, { src: "swapd", error: { message, type: "invalid_request_error", param: null, code: "not_found" } }, status);
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = "";
  for await (const piece of request) text += String(piece);
  return text ? (JSON.parse(text) as Record<string, unknown>) : {};
}

function events(request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  const send = (type: string, data: unknown) =>
    response.write(`event:message\ndata:${JSON.stringify({ type, data: JSON.stringify(data) })}\n\n`);
  streams.add(send);
  send("modelStatus", models);
  send("uiConfig", { activity: { session_id: ["X-Session-ID"] } });
  send("profileChanged", { active });
  send("inflight", { operation: "snapshot", requests: [...inflight.values()] });
  send("configStatus", configStatus(rejected));
  const beat = setInterval(() => response.write(":\n\n"), 15_000);
  request.on("close", () => {
    clearInterval(beat);
    streams.delete(send);
  });
}

function setState(id: string, state: string, more: Record<string, unknown> = {}): void {
  const model = models.find((entry) => entry.id === id);
  if (!model) return;
  Object.assign(model, { state, last_error: null, ...more });
  broadcast("modelStatus", models);
}

function load(id: string): void {
  const now = new Date().toISOString();
  setState(id, "starting", { started_at: now, pid: 4000 + Math.floor(Math.random() * 999) });
  broadcast("modelProgress", { model: id, phase: "spawning", since_ms: 0, evicting: [], queue_pos: null, detail: null });
  setTimeout(() => broadcast("modelProgress", { model: id, phase: "health", since_ms: 0, evicting: [], detail: "of 120 s" }), 700);
  setTimeout(() => {
    const expires = new Date(Date.now() + 300_000).toISOString();
    setState(id, "ready", { ready_at: new Date().toISOString(), load_ms: 2600, ttl_s: 300, expires_at: expires, inflight: 0, queued: 0, rss_mb: 2100, vram: [{ gpu: 0, mb: 5120 }] });
  }, 2600);
}

function unload(id: string): void {
  setState(id, "stopping");
  setTimeout(() => setState(id, "stopped", { pid: null, rss_mb: null, vram: null, expires_at: null }), 600);
}

async function chat(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await bodyOf(request);
  const id = String((requestIds += 1));
  const started = Date.now();
  const entry = {
    id,
    timestamp: new Date().toISOString(),
    model: body.model,
    req_path: "/v1/chat/completions",
    method: "POST",
    req_headers: { "User-Agent": "Mozilla/5.0", "X-Session-ID": String(request.headers["x-session-id"] ?? "") },
    remote_ip: "127.0.0.1",
    resp_headers: {},
    resp_bytes: 0,
    elapsed_ms: 0,
  };
  inflight.set(id, entry);
  broadcast("inflight", { operation: "upsert", request: entry });
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  const words = MARKDOWN.match(/\S+\s*/g) ?? [];
  const chunk = (delta: object, more: object = {}) =>
    response.write(`data: ${JSON.stringify({ model: body.model, choices: [{ delta, finish_reason: null }], ...more })}\n\n`);
  let at = 0;
  chunk({ reasoning_content: "The person wants to see what an answer looks like. " });
  const timer = setInterval(() => {
    if (at === 0) chunk({ reasoning_content: "I should show a list, a table, code and a formula." });
    if (at < words.length) {
      chunk({ content: words[at] });
      at += 1;
      if (at % 12 === 0) broadcast("inflight", { operation: "upsert", request: { ...entry, resp_bytes: at * 160, elapsed_ms: Date.now() - started } });
      return;
    }
    clearInterval(timer);
    chunk({}, { usage: { prompt_tokens: 24, completion_tokens: words.length, prompt_tokens_details: { cached_tokens: 8 } }, timings: { prompt_n: 16, predicted_n: words.length, cache_n: 8, prompt_per_second: 812.4, predicted_per_second: 61.7 } });
    response.end("data: [DONE]\n\n");
  }, 16);
  request.on("close", () => clearInterval(timer));
  response.on("close", () => {
    clearInterval(timer);
    inflight.delete(id);
    broadcast("inflight", { operation: "remove", id });
  });
}

function activity(response: ServerResponse, url: URL): void {
  const query = url.searchParams;
  const limit = Number(query.get("limit") ?? 25);
  const page = Number(query.get("page") ?? 1);
  const wanted = query.getAll("model");
  const q = query.get("q")?.toLowerCase() ?? "";
  const status = query.get("status") ?? "";
  const found = rows.filter(
    (row) =>
      (!wanted.length || wanted.includes(row.model)) &&
      (!q || `${row.model} ${row.req_path} ${row.error_msg ?? ""}`.toLowerCase().includes(q)) &&
      (!status || (status === "error" ? row.resp_status_code >= 400 : String(row.resp_status_code).startsWith(status[0]!))),
  );
  const ordered = query.get("order") === "asc" ? [...found].reverse() : found;
  const data = ordered.slice((page - 1) * limit, page * limit);
  json(response, { data, page, limit, total: found.length, total_pages: Math.ceil(found.length / limit) });
}

function logStream(request: IncomingMessage, response: ServerResponse, url: URL): void {
  response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  const wanted = decodeURIComponent(url.pathname.split("/").at(-1)!);
  let seq = 0;
  const write = () => {
    const record = logRecord((seq += 1));
    if (wanted === "all" || wanted === record.source || wanted === record.model) response.write(`${JSON.stringify(record)}\n`);
  };
  for (let index = 0; index < 300; index += 1) write();
  const timer = setInterval(write, 400);
  request.on("close", () => clearInterval(timer));
}

const ROUTES: [string, RegExp, Answer][] = [
  ["GET", /^\/api\/session$/, (_, response) => json(response, { required: false, authenticated: true, name: null, admin: true, models: null })],
  ["GET", /^\/api\/events$/, events],
  ["GET", /^\/api\/version$/, (_, response) => json(response, { version: "0.1.0", commit: "stand-in", build_date: "" })],
  ["GET", /^\/api\/status$/, (_, response) => json(response, { version: "0.1.0", uptime_s: 86_000, ready: true })],
  ["GET", /^\/api\/profiles$/, (_, response) => json(response, { active, profiles: [{ id: "coding", description: "The coder answers everything", pins: { "gpt-4o": "qwen3-coder-30b", "text-embedding-3": "" } }, { id: "night", description: "", pins: {} }] })],
  ["PUT", /^\/api\/profiles\/active$/, async (request, response) => {
    active = ((await bodyOf(request)).name as string | null) || null;
    broadcast("profileChanged", { active });
    json(response, { active });
  }],
  ["POST", /^\/api\/models\/load\/(.+)$/, (_, response, url) => {
    load(decodeURIComponent(url.pathname.slice("/api/models/load/".length)));
    json(response, { state: "starting" }, 202);
  }],
  ["POST", /^\/api\/models\/unload$/, (_, response) => {
    for (const model of models) if (model.state === "ready") unload(model.id);
    json(response, { msg: "ok" });
  }],
  ["POST", /^\/api\/models\/unload\/(.+)$/, (_, response, url) => {
    unload(decodeURIComponent(url.pathname.slice("/api/models/unload/".length)));
    response.end("OK");
  }],
  ["GET", /^\/api\/models\/(.+)$/, (_, response, url) => {
    const detail = modelDetail(decodeURIComponent(url.pathname.slice("/api/models/".length)));
    return detail ? json(response, detail) : refuse(response, 404, "model not found");
  }],
  ["GET", /^\/v1\/models$/, (_, response) => json(response, { object: "list", data: listed() })],
  ["GET", /^\/api\/metrics\/activity$/, (_, response, url) => activity(response, url)],
  ["GET", /^\/api\/metrics\/stats$/, (_, response) => json(response, history(rows))],
  ["GET", /^\/api\/captures\/(\d+)$/, (_, response, url) => {
    const row = rows.find(({ id }) => id === Number(url.pathname.split("/").at(-1)));
    return row?.has_capture ? json(response, captureOf(row)) : refuse(response, 404, "capture not found");
  }],
  ["POST", /^\/api\/inflight\/(.+)\/cancel$/, (_, response) => json(response, { msg: "ok" })],
  ["GET", /^\/api\/performance$/, (_, response) => {
    const now = Date.now();
    const times = Array.from({ length: 720 }, (_unused, index) => now - (719 - index) * 5000);
    json(response, { enabled: true, sys_stats: times.map(sysSample), gpu_stats: times.flatMap((at) => [gpuSample(at, 0), gpuSample(at, 1)]), probes: [{ source: "nvml", ok: true, message: "2 GPUs" }] });
  }],
  ["GET", /^\/api\/config\/status$/, (_, response) => json(response, configStatus(rejected))],
  ["POST", /^\/api\/config\/reload$/, (_, response) => {
    rejected = true;
    broadcast("configStatus", configStatus(rejected));
    json(response, configStatus(rejected), 422);
  }],
  ["GET", /^\/api\/config\/effective$/, (_, response) => {
    response.writeHead(200, { "Content-Type": "application/yaml" });
    response.end("models:\n  qwen3-coder-30b:\n    cmd: llama-server --port ${PORT} -m /models/qwen3-coder-30b.gguf\n    ttl: 600\napiKeys:\n  - '***'\n");
  }],
  ["GET", /^\/logs\/stream(\/.*)?$/, logStream],
  ["POST", /^\/v1\/chat\/completions$/, chat],
];

function listed() {
  const local = models.filter(({ unlisted }) => !unlisted).map(({ id, name, aliases, peerID, capabilities }) => ({
    id,
    name,
    capabilities,
    meta: { llamaswap: peerID ? { type: "peer", peerID } : { type: "model", aliases } },
  }));
  return [...local, { id: "auto", meta: { llamaswap: { type: "selector", strategy: "warm", targets: ["qwen3-coder-30b", "gpt-oss-20b"] } } }];
}

const MARKDOWN = `Here is what an answer can hold.

1. **Lists**, with \`inline code\` in them
2. tables and [links](https://example.org)

| model | size | speed |
| --- | ---: | ---: |
| qwen3-coder-30b | 18.2 GiB | 61 t/s |
| gpt-oss-20b | 12.8 GiB | 74 t/s |

\`\`\`python
def fib(n: int) -> int:
    """The n-th Fibonacci number."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
\`\`\`

And mathematics: $e^{i\\pi} + 1 = 0$, or on a line of its own:

$$\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}$$

> A quotation, for good measure.
`;

export function standIn(): Plugin {
  return {
    name: "stand-in",
    apply: "serve",
    configureServer: answerFor,
    configurePreviewServer: answerFor,
  };
}

function answerFor(server: ViteDevServer | PreviewServer): void {
  if (process.env.VITEST) return;
  setInterval(() => {
    const now = Date.now();
    broadcast("perfsys", sysSample(now));
    broadcast("perfgpu", gpuSample(now, 0));
    broadcast("perfgpu", gpuSample(now, 1));
  }, 5000).unref();
  server.middlewares.use((request, response, next) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    const path = url.pathname;
    const route = ROUTES.find(([method, pattern]) => request.method === method && pattern.test(path));
    if (route) return void route[2](request, response, url);
    if (/^\/(api|v1|logs)\//.test(path)) return refuse(response, 404, "the stand-in does not offer this");
    if (path === "/") return void response.writeHead(302, { Location: "/ui/" }).end();
    // The page lives below /ui/, as with the daemon.
    if (path.startsWith("/ui/")) request.url = request.url!.slice(3);
    next();
  });
}
