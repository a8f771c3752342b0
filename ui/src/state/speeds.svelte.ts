// Tokens a second of each model's last request. The events only say that a row was stored, so it is looked up,
// at most once a second.
import { getJson } from "../lib/http";
import type { ActivityPage } from "../lib/types";
import { onEvent } from "./live.svelte";

const speeds = $state<Record<string, number>>({});
let asked = 0;
let timer: ReturnType<typeof setTimeout> | null = null;

export function lastSpeed(model: string): number | null {
  return speeds[model] ?? null;
}

/** Keep them up to date until the returned function is called. */
export function watchSpeeds(): () => void {
  void look();
  return onEvent((type) => {
    if (type !== "activity" || timer) return;
    timer = setTimeout(() => void look(), Math.max(0, 1000 - (Date.now() - asked)));
  });
}

async function look(): Promise<void> {
  timer = null;
  asked = Date.now();
  try {
    const page = await getJson<ActivityPage>("api/metrics/activity?limit=25");
    for (const row of [...page.data].reverse())
      if (row.tokens.tokens_per_second > 0) speeds[row.model] = row.tokens.tokens_per_second;
  } catch {
    // Then the tiles show a dash.
  }
}
