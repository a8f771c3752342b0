// The end of a model's log: what its stream begins with is its history.
import { segment } from "../lib/address";
import { plain } from "../lib/ansi";
import { request } from "../lib/http";
import { LineSplitter, parseRecord } from "../lib/loglines";

/** How long to wait for a history that may be empty, in which case nothing comes. */
const PATIENCE_MS = 1000;

/** At most `most` lines, the oldest first. Raises `ApiError`. */
export async function lastLines(model: string, most: number): Promise<string[]> {
  const abort = new AbortController();
  const response = await request(`logs/stream/${segment(model)}?format=ndjson`, { signal: abort.signal });
  const asText = !response.headers.get("Content-Type")?.includes("ndjson");
  const first = response.body!.getReader().read();
  const late = new Promise<null>((resolve) => setTimeout(resolve, PATIENCE_MS, null));
  const piece = await Promise.race([first, late]);
  first.catch(() => {}); // it fails when the request is given up, which is what is wanted
  abort.abort();
  const text = new TextDecoder().decode(piece?.value);
  const records = new LineSplitter().push(text.endsWith("\n") ? text : `${text}\n`).map((line) => parseRecord(line, asText));
  return records.flatMap((record) => (record && !record.dropped ? [plain(record.text)] : [])).slice(-most);
}
