import { type PageId, type Route, href, parseRoute } from "../lib/route";
import { FIRST_PAGE, settings, shell } from "./settings.svelte";

export const route = $state<{ current: Route }>({ current: landing() });

function landing(): Route {
  const last = settings.value.landing || shell.value.last || `#/${FIRST_PAGE}`;
  return parseRoute(location.hash) ?? parseRoute(last) ?? parseRoute("#/models")!;
}

window.addEventListener("hashchange", () => {
  route.current = landing();
  if (!location.hash.startsWith("#/playground")) shell.value.last = `#/${route.current.page}`;
});

export function go(page: PageId, rest = "", query?: URLSearchParams | Record<string, string>): void {
  location.hash = href(page, rest, query);
}

/** Change the query of the address without an entry in the history. */
export function setQuery(query: URLSearchParams): void {
  const target = href(route.current.page, route.current.rest, query);
  history.replaceState(null, "", target);
  route.current = parseRoute(target)!;
}
