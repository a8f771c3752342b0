import { beforeEach, describe, expect, it, vi } from "vitest";
import { COLUMNS, NO_FILTERS, activeFilters, apiQuery, cell, filtersFrom, filtersTo, markdownTable, sessionOf, weightedSpeed } from "../src/lib/activity";
import { daemonUrl } from "../src/lib/address";
import { DASH, ago, bytes, clock, contextLength, duration, middle, short, speed } from "../src/lib/format";
import { errorOf } from "../src/lib/http";
import { chipOf, matches, ordered, phaseText, shownState } from "../src/lib/models";
import { href, parseRoute } from "../src/lib/route";
import { align, gpuValue, merge, traffic } from "../src/lib/series";
import { PREFIX, flushAll, forget, load, save, shaped } from "../src/lib/stored";
import type { ActivityRow, GpuSample, ModelEntry, SysSample } from "../src/lib/types";

describe("numbers", () => {
  it("that are unknown are a dash, never 0", () => {
    for (const text of [bytes(null), duration(undefined), speed(-1), speed(null), short(-1), clock(NaN)]) expect(text).toBe(DASH);
  });
  it.each([
    [bytes(1536), "1.5 KiB"], [duration(640), "640 ms"], [duration(1234), "1.23 s"], [duration(245_000), "4 min 05 s"],
    [clock(252_000), "4:12"], [clock(3_729_000), "1:02:09"], [speed(12.341), "12.34 t/s"], [contextLength(128_000), "128K"],
    [contextLength(1_000_000), "1M"], [short(1_234_567), "1.23 M"], [middle("abcdefghij", 5), "ab…ij"],
  ])("read as %s", (shown, wanted) => {
    expect(shown).toBe(wanted);
  });
  it("of seconds ago become minutes, hours, and a date after a day", () => {
    const now = Date.parse("2026-08-02T12:00:00Z");
    expect([4, 40, 400, 40_000].map((s) => ago(now - s * 1000, now))).toEqual(["now", "40 s ago", "6 min ago", "11 h ago"]);
    expect(ago(now - 90_000_000, now)).toMatch(/^2026-08-01 \d\d:\d\d:\d\d$/);
  });
});

describe("addresses", () => {
  it.each([
    ["http://h:8080/ui/", "http://h:8080/api/x"],
    ["https://h/llm/ui/#/models/a%2Fb?x=1", "https://h/llm/api/x"],
    ["https://h/x/y/ui/index.html", "https://h/x/y/api/x"],
  ])("are computed from the page's own: %s", (base, wanted) => {
    expect(daemonUrl("api/x", base)).toBe(wanted);
  });
  it("of models may hold anything", () => {
    for (const id of ["a/b:c", "100%", "ä ö?#&", "<img>"]) expect(parseRoute(href("models", id))?.rest).toBe(id);
    expect(parseRoute("#/models/%zz")?.rest).toBe("%zz");
    expect(parseRoute("#/nowhere")).toBeNull();
    expect(parseRoute("#/activity?model=a&model=b")?.query.getAll("model")).toEqual(["a", "b"]);
  });
});

describe("errors", () => {
  it.each([
    ['{"src":"swapd","error":{"message":"no","code":"not_found"}}', "no", "not_found"],
    ['{"error":"plain"}', "plain", ""], ['{"detail":"d"}', "d", ""], ['{"detail":[1]}', "", ""], ["<html>", "", ""], ["null", "", ""],
  ])("are read from %s", (text, message, code) => {
    expect(errorOf(text)).toEqual({ message, code });
  });
});

const entry = (id: string, more: Partial<ModelEntry> = {}): ModelEntry => ({ id, name: "", description: "", state: "stopped", unlisted: false, peerID: "", ...more });

describe("models", () => {
  const all = [entry("m10"), entry("m2", { aliases: ["gpt"] }), entry("p/x", { peerID: "p", state: "" }), entry("z", { state: "ready", last_used_at: "2026-01-01T00:00:00Z", rss_mb: 5 }), entry("h", { unlisted: true })];
  const names = (list: ModelEntry[]) => list.map(({ id }) => id);

  it("stand in the order that people read, favourites first", () => {
    expect(names(ordered(all, "name", ["z"]))).toEqual(["z", "h", "m2", "m10", "p/x"]);
    expect(names(ordered(all, "used", []))[0]).toBe("z");
    expect(names(ordered(all, "size", []))[0]).toBe("z");
  });
  it("are found by any of their names", () => {
    const filter = { text: "GPT", states: [], capabilities: [], unlisted: false };
    expect(names(all.filter((model) => matches(model, filter)))).toEqual(["m2"]);
    expect(names(all.filter((model) => matches(model, { ...filter, text: "", states: ["ready"] })))).toEqual(["z"]);
    expect(all.filter((model) => matches(model, { ...filter, text: "" })).length).toBe(4);
  });
  it("are failed when the last start was, until the next", () => {
    expect(shownState(entry("a", { last_error: "boom" }))).toBe("failed");
    expect(shownState(entry("a", { last_error: "boom", state: "ready" }))).toBe("ready");
    expect(chipOf(entry("a", { state: "starting" }))).toBe("busy");
    expect(phaseText({ model: "a", phase: "evicting", since_ms: 0, evicting: ["b", "c"] }, 3200)).toBe("stopping b, c to make room · 3 s");
  });
});

const row = (more: Partial<ActivityRow> = {}): ActivityRow => ({
  id: 1, timestamp: "2026-08-01T12:00:00Z", model: "m|x", req_path: "/v1/x", resp_content_type: "", resp_status_code: 200,
  tokens: { cache_tokens: -1, draft_tokens: 10, draft_acc_tokens: 7, input_tokens: 100, output_tokens: 50, prompt_per_second: 200, tokens_per_second: 25 },
  duration_ms: 2000, has_capture: false, ...more,
});

describe("activity", () => {
  it("keeps its filters in the address", () => {
    const filters = { ...NO_FILTERS, model: ["a", "b/c"], status: "error", q: "x y", capture: true, range: "1h", minId: "5" };
    expect(filtersFrom(filtersTo(filters))).toEqual(filters);
    expect(activeFilters(NO_FILTERS)).toBe(0);
    expect([...filtersTo(NO_FILTERS)]).toEqual([]);
  });
  it("asks the daemon for what was meant, and for no nonsense", () => {
    const query = apiQuery({ ...NO_FILTERS, model: ["a"], range: "15m", minId: "0", maxId: "x", q: " q " }, Date.parse("2026-08-01T12:15:00Z"));
    expect(query.toString()).toBe("model=a&q=q&start=2026-08-01T12%3A00%3A00Z");
  });
  it("weighs speeds by their tokens", () => {
    expect(weightedSpeed([[100, 100], [100, 50], [5, -1]])).toBeCloseTo(66.67, 1);
    expect(weightedSpeed([[5, -1]])).toBeNull();
  });
  it("shows unknown numbers as a dash, drafts as a share", () => {
    expect([cell(row(), "cached"), cell(row(), "drafted"), cell(row(), "ttft")]).toEqual([DASH, "70 % (7/10)", DASH]);
  });
  it("is exported as a table that holds together", () => {
    const text = markdownTable([row(), row({ id: 2 })], COLUMNS.filter(({ shown }) => shown));
    expect(text).toContain("m\\|x");
    expect(text).toContain("| Prompt | 200 (200.0 t/s) |");
    const widths = text.split("\n").filter((line) => line.startsWith("| ")).slice(9).map((line) => line.split(/(?<!\\)\|/).length);
    expect(new Set(widths).size).toBe(1);
  });
  it("finds the session in the headers in the configured order", () => {
    expect(sessionOf({ "x-litellm-session-id": "b", "X-Session-Id": "" }, ["X-Session-ID", "X-Litellm-Session-Id"])).toBe("b");
  });
});

describe("series", () => {
  it("stand on their own times, with gaps as gaps", () => {
    const [times, a, b] = align([{ label: "a", points: [[0, 1], [5, 2], [60, 3]] }, { label: "b", points: [[0.4, 9], [60.2, 7]] }], 1, 20);
    expect(times).toEqual([0, 5, 15, 60]);
    expect([a, b]).toEqual([[1, 2, null, 3], [9, null, null, 7]]);
  });
  const sys = (at: number, received: number): SysSample => ({ timestamp: new Date(at * 1000).toISOString(), net_io: [{ name: "eth", bytes_recv: received, bytes_sent: 0 }] }) as unknown as SysSample;
  it("of traffic are differences, and a counter that begins anew is a gap", () => {
    const [eth] = traffic([sys(0, 0), sys(8, 1e6), sys(16, 5)]);
    expect(eth!.received.map(([, value]) => value)).toEqual([1, null]);
  });
  it("grow without duplicates and forget what is old", () => {
    const merged = merge([sys(0, 1), sys(5, 1)], [sys(5, 1), sys(12, 1)], () => "", 10);
    expect(merged.map(({ timestamp }) => Date.parse(timestamp) / 1000)).toEqual([5, 12]);
  });
  it("leave out what the daemon does not know", () => {
    const sample = { temp_c: 0, power_draw_w: { min: 1, avg: 2, max: 3 }, unknown: ["temp_c"] } as unknown as GpuSample;
    expect([gpuValue(sample, "temp_c"), gpuValue(sample, "power_draw_w"), gpuValue(sample, "fan_speed_pct")]).toEqual([null, 2, null]);
  });
});

describe("what is remembered", () => {
  beforeEach(() => localStorage.clear());

  it("is written once, after a moment, under our own prefix", () => {
    vi.useFakeTimers();
    save("x", 1);
    save("x", 2);
    expect(localStorage.length).toBe(0);
    vi.advanceTimersByTime(300);
    vi.useRealTimers();
    expect(localStorage.getItem(`${PREFIX}x`)).toBe("2");
  });
  it.each([["{", 5], ["null", 5], ['"text"', 5]])("is the default where what is there cannot be used: %s", (text, wanted) => {
    localStorage.setItem(`${PREFIX}x`, text);
    expect(load("x", 5)).toBe(wanted);
  });
  it("takes known members of the right kind only", () => {
    expect(shaped({ a: 1, b: "no", z: 9 }, { a: 0, b: 2, c: ["x"] })).toEqual({ a: 1, b: 2, c: ["x"] });
    expect(shaped(["a", 1], ["x"])).toEqual(["a"]);
  });
  it("is forgotten without touching what others have left", () => {
    localStorage.setItem("theme", "theirs");
    save("x", 1);
    flushAll();
    forget();
    expect([localStorage.getItem("theme"), localStorage.length]).toEqual(["theirs", 1]);
  });
});
