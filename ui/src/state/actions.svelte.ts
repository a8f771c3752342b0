// What a person can do to models and requests. A button is busy until the events say what became of it.
import { segment } from "../lib/address";
import { request } from "../lib/http";
import { live } from "./live.svelte";
import { failed } from "./toasts.svelte";
import { toast } from "./toasts.svelte";

/** Model id → what was asked for, until its state changes or ten seconds are over. */
export const pending = $state<Record<string, string>>({});

const EXPECTED_WITHIN_MS = 10_000;

async function ask(id: string, what: string, path: string, verb: string): Promise<void> {
  const before = live.models?.find((model) => model.id === id)?.state;
  pending[id] = what;
  const timer = setTimeout(() => {
    if (pending[id] !== what) return;
    delete pending[id];
    if (live.models?.find((model) => model.id === id)?.state === before)
      toast(`${verb} ${id}: the daemon accepted it, but nothing has happened within 10 s.`, "bad");
  }, EXPECTED_WITHIN_MS);
  try {
    await request(path, { method: "POST" });
  } catch (error) {
    failed(`${verb} ${id}`, error);
  } finally {
    // With the answer, the state that follows from it is known or on its way; a load goes on without us.
    if (what !== "load" || live.models?.find((model) => model.id === id)?.state !== before) {
      clearTimeout(timer);
      delete pending[id];
    } else
      setTimeout(() => {
        clearTimeout(timer);
        if (pending[id] === what) delete pending[id];
      }, 1000);
  }
}

export function loadModel(id: string): Promise<void> {
  return ask(id, "load", `api/models/load/${segment(id)}`, "Load");
}

export function unloadModel(id: string, drain: boolean): Promise<void> {
  return ask(id, "unload", `api/models/unload/${segment(id)}${drain ? "?drain=1" : ""}`, "Unload");
}

export function restartModel(id: string): Promise<void> {
  return ask(id, "restart", `api/models/restart/${segment(id)}`, "Restart");
}

export async function unloadAll(drain: boolean): Promise<void> {
  try {
    await request(`api/models/unload${drain ? "?drain=1" : ""}`, { method: "POST" });
  } catch (error) {
    failed("Unload all", error);
  }
}

export async function cancelRequest(id: string): Promise<void> {
  try {
    await request(`api/inflight/${segment(id)}/cancel`, { method: "POST" });
  } catch (error) {
    failed(`Cancel request ${id}`, error);
  }
}

export async function activateProfile(name: string | null): Promise<void> {
  try {
    await request("api/profiles/active", { method: "PUT", json: { name } });
  } catch (error) {
    failed("Switch profile", error);
  }
}
