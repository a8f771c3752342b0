import { ApiError, getJson, request, whenUnauthorized } from "../lib/http";
import type { Session } from "../lib/types";

const OPEN: Session = { required: false, authenticated: true, name: null, admin: true, models: null };

/** Who is using the page, and what they may do. `checked` once the daemon has been asked. */
export const session = $state<{ checked: boolean; value: Session; error: string | null }>({
  checked: false,
  value: OPEN,
  error: null,
});

export function mayUse(): boolean {
  return !session.value.required || session.value.authenticated;
}

export async function checkSession(): Promise<void> {
  try {
    session.value = await getJson<Session>("api/session");
    session.error = null;
  } catch (error) {
    // A daemon without this route knows no sign-in; without keys everything works, with keys it says 401.
    if (!(error instanceof ApiError) || !error.missing) session.error = error instanceof Error ? error.message : null;
  }
  session.checked = true;
}

export async function signIn(key: string, remember: boolean): Promise<void> {
  const response = await request("api/session", { method: "POST", json: { key, remember } });
  session.value = (await response.json()) as Session;
}

export async function signOut(): Promise<void> {
  await request("api/session", { method: "DELETE" });
  session.value = { required: true, authenticated: false, name: null, admin: false, models: null };
}

whenUnauthorized(() => {
  if (session.value.authenticated || !session.value.required)
    session.value = { required: true, authenticated: false, name: null, admin: false, models: null };
});
