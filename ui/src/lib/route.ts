// Hash routes: `#/models/qwen%2F7b?tab=logs`.

export const PAGES = ["models", "activity", "logs", "playground", "performance", "hardware", "config", "settings"] as const;
export type PageId = (typeof PAGES)[number];

/** Pages whose data the daemon gives to administrators only. */
export const NEEDS_ADMIN: ReadonlySet<PageId> = new Set(["logs", "performance", "hardware", "config"] as const);

export interface Route {
  page: PageId;
  /** What follows the page, decoded: a model id, a row id, a log source, a tab. */
  rest: string;
  query: URLSearchParams;
}

export const TITLES: Record<PageId, string> = {
  models: "Models",
  activity: "Activity",
  logs: "Logs",
  playground: "Playground",
  performance: "Performance",
  hardware: "Hardware",
  config: "Config",
  settings: "Settings",
};

/** The route of a hash; null if it names no page, so that the caller decides where to land. */
export function parseRoute(hash: string): Route | null {
  const [path, query] = split(hash.replace(/^#/, ""), "?");
  const [page, rest] = split(path.replace(/^\/+/, ""), "/");
  if (!isPage(page)) return null;
  return { page, rest: decoded(rest), query: new URLSearchParams(query) };
}

export function href(page: PageId, rest = "", query?: URLSearchParams | Record<string, string>): string {
  const search = query ? new URLSearchParams(query).toString() : "";
  return `#/${page}${rest ? `/${encodeURIComponent(rest)}` : ""}${search ? `?${search}` : ""}`;
}

function isPage(name: string): name is PageId {
  return (PAGES as readonly string[]).includes(name);
}

function split(text: string, by: string): [string, string] {
  const at = text.indexOf(by);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
