// Every address is computed from the page's own, so that the app works below any path a proxy puts in front.

/** The URL of a daemon path such as `api/models`; `path` has no slash at its start. */
export function daemonUrl(path: string, base: string = document.baseURI): string {
  return new URL(`../${path}`, withoutHash(base)).href;
}

/** A model id as part of a path: its slashes are escaped, so that no route mistakes a piece of it for a word. */
export function segment(id: string): string {
  return encodeURIComponent(id);
}

function withoutHash(url: string): string {
  return url.split("#", 1)[0]!;
}
