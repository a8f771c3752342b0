import { messageOf } from "../lib/http";

export interface Toast {
  id: number;
  tone: "bad" | "ok" | "info";
  text: string;
}

export const toasts = $state<{ list: Toast[] }>({ list: [] });

let ids = 0;

export function toast(text: string, tone: Toast["tone"] = "info"): void {
  const id = (ids += 1);
  toasts.list = [...toasts.list, { id, tone, text }].slice(-5);
  setTimeout(() => dismiss(id), tone === "bad" ? 12_000 : 5_000);
}

export function dismiss(id: number): void {
  toasts.list = toasts.list.filter((entry) => entry.id !== id);
}

/** What somebody asked for and did not get is always said. */
export function failed(what: string, error: unknown): void {
  toast(`${what}: ${messageOf(error)}`, "bad");
}
