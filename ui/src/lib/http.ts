// Requests to the daemon, and one kind of error for everything that can go wrong with them.
import { daemonUrl } from "./address";

/** What the daemon, or the way to it, said no with. `status` is 0 when there was no answer at all. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string = "",
    readonly retryAfterS: number | null = null,
  ) {
    super(message);
    this.name = "ApiError";
  }

  /** The daemon does not know this route, or does not know it yet. */
  get missing(): boolean {
    return (this.status === 404 && this.code === "") || this.status === 405;
  }
}

type Listener = () => void;
let onUnauthorized: Listener = () => {};

/** `listener` is called whenever the daemon wants a key. */
export function whenUnauthorized(listener: Listener): void {
  onUnauthorized = listener;
}

export interface Options {
  method?: string;
  json?: unknown;
  /** A form with files; instead of `json`. */
  form?: FormData;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
}

/** The response, once its status is 2xx; anything else is thrown as an `ApiError`. */
export async function request(path: string, options: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { "X-Swapd-UI": "1", ...options.headers };
  const init: RequestInit = { method: options.method ?? "GET", headers, credentials: "same-origin" };
  if (options.json !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(options.json);
  }
  if (options.form) init.body = options.form;
  if (options.signal) init.signal = options.signal;
  let response: Response;
  try {
    response = await fetch(daemonUrl(path), init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The daemon cannot be reached.", 0);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, { signal });
  return (await response.json()) as T;
}

/** What a response that is not 2xx means. */
export async function refusal(response: Response): Promise<ApiError> {
  if (response.status === 401) onUnauthorized();
  const text = await response.text().catch(() => "");
  const { message, code } = errorOf(text);
  const retry = Number(response.headers.get("Retry-After") ?? NaN);
  const plain = response.headers.get("Content-Type")?.startsWith("text/plain") ? text.trim() : "";
  const fallback = response.statusText || `HTTP ${response.status}`;
  return new ApiError(
    message || (plain.length < 300 ? plain : "") || fallback,
    response.status,
    code,
    Number.isFinite(retry) ? retry : null,
  );
}

/** Message and code of an error body: swapd's and OpenAI's envelope, or the looser forms servers use. */
export function errorOf(text: string): { message: string; code: string } {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return { message: "", code: "" };
  }
  if (typeof body !== "object" || body === null) return { message: "", code: "" };
  const { error, message, detail } = body as Record<string, unknown>;
  if (typeof error === "string") return { message: error, code: "" };
  if (typeof error === "object" && error !== null) {
    const inner = error as Record<string, unknown>;
    const code = inner.code ?? inner.type;
    return {
      message: typeof inner.message === "string" ? inner.message : "",
      code: typeof code === "string" || typeof code === "number" ? String(code) : "",
    };
  }
  if (typeof message === "string") return { message, code: "" };
  return { message: typeof detail === "string" ? detail : "", code: "" };
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
