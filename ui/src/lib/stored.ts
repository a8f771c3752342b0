// What the app remembers in localStorage: JSON under `swapd.v1.<name>`, read with distrust, written with delay.
// The page may share its origin with others, so no other key is ever touched.

export const PREFIX = "swapd.v1.";
const WRITE_DELAY_MS = 250;

/** `value` if it has the shape of `fallback`: the same type, and for objects only known members of their type. */
export function shaped<T>(value: unknown, fallback: T): T {
  if (fallback === null) return value as T;
  if (Array.isArray(fallback)) {
    if (!Array.isArray(value)) return fallback;
    return (fallback.length ? value.filter((item) => typeof item === typeof fallback[0]) : value) as T;
  }
  if (typeof fallback === "object") {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return fallback;
    const given = value as Record<string, unknown>;
    const entries = Object.entries(fallback as Record<string, unknown>);
    return Object.fromEntries(
      entries.map(([key, inner]) => [key, key in given ? shaped(given[key], inner) : inner]),
    ) as T;
  }
  return typeof value === typeof fallback ? (value as T) : fallback;
}

export function load<T>(name: string, fallback: T): T {
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? fallback : shaped(JSON.parse(text), fallback);
  } catch {
    return fallback;
  }
}

const pending = new Map<string, { timer: ReturnType<typeof setTimeout>; text: string }>();

export function save(name: string, value: unknown): void {
  clearTimeout(pending.get(name)?.timer);
  const timer = setTimeout(() => flush(name), WRITE_DELAY_MS);
  pending.set(name, { timer, text: JSON.stringify(value) });
}

function flush(name: string): void {
  const entry = pending.get(name);
  pending.delete(name);
  try {
    if (entry) localStorage.setItem(PREFIX + name, entry.text);
  } catch {
    // Private mode, or full: the page works on, it only forgets.
  }
}

export function flushAll(): void {
  for (const name of [...pending.keys()]) flush(name);
}

/** Everything the app has stored, by name. */
export function exported(): Record<string, unknown> {
  flushAll();
  const found: Record<string, unknown> = {};
  try {
    for (let index = 0; index < localStorage.length; index += 1) {
      const key = localStorage.key(index)!;
      if (key.startsWith(PREFIX)) found[key.slice(PREFIX.length)] = JSON.parse(localStorage.getItem(key)!);
    }
  } catch {
    // What cannot be read is not exported.
  }
  return found;
}

export function imported(values: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(values)) localStorage.setItem(PREFIX + name, JSON.stringify(value));
}

export function forget(): void {
  for (const name of Object.keys(exported())) localStorage.removeItem(PREFIX + name);
}
