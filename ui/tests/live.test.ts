import { beforeEach, describe, expect, it } from "vitest";
import { type LiveState, emptyState, reconnected, reduce } from "../src/lib/live";
import { SseParser } from "../src/lib/sse";

function frame(type: string, data: unknown): string {
  return JSON.stringify({ type, data: JSON.stringify(data) });
}

const model = (id: string, state = "stopped") => ({ id, name: "", description: "", state, unlisted: false, peerID: "" });
const request = (id: string, more = {}) => ({ id, timestamp: "t", model: "m", req_path: "/", method: "POST", req_headers: {}, remote_ip: "", resp_headers: {}, resp_bytes: 0, elapsed_ms: 5, ...more });

describe("the events", () => {
  let state: LiveState;
  beforeEach(() => {
    state = emptyState();
  });

  it("knows no models until the daemon has named them, which may be none", () => {
    expect(state.models).toBeNull();
    reduce(state, frame("modelStatus", []), 0);
    expect(state.models).toEqual([]);
  });

  it("replaces the list of models and forgets the progress of those that are ready or gone", () => {
    for (const id of ["a", "b", "c"]) reduce(state, frame("modelProgress", { model: id, phase: "health", since_ms: 1 }), 7);
    reduce(state, frame("modelStatus", [model("a", "ready"), model("b", "starting")]), 8);
    expect(Object.keys(state.progress)).toEqual(["b"]);
    expect(state.progress.b!.received).toBe(7);
  });

  it("keeps the requests in flight by snapshot, upsert and remove", () => {
    reduce(state, frame("inflight", { operation: "snapshot", requests: [request("1"), request("2")] }), 1);
    reduce(state, frame("inflight", { operation: "upsert", request: request("2", { resp_bytes: 9 }) }), 2);
    reduce(state, frame("inflight", { operation: "upsert", request: request("3") }), 3);
    reduce(state, frame("inflight", { operation: "remove", id: "1" }), 4);
    expect(Object.values(state.inflight).map(({ id, resp_bytes }) => [id, resp_bytes])).toEqual([["2", 9], ["3", 0]]);
    reduce(state, frame("inflight", { operation: "snapshot" }), 5);
    expect(state.inflight).toEqual({});
  });

  it.each([["no JSON"], ["{}"], ['{"type":"modelStatus","data":"{"}'], ['{"type":"constructor","data":"{}"}'], [frame("fromTheFuture", { a: 1 })]])(
    "ignores what it cannot read or does not know: %s",
    (text) => {
      const before = JSON.stringify(state);
      expect(reduce(state, text, 0)).toBeNull();
      expect(JSON.stringify(state)).toBe(before);
    },
  );

  it("drops with a new connection what is not told again, and keeps the rest on screen", () => {
    reduce(state, frame("modelStatus", [model("a")]), 0);
    reduce(state, frame("modelProgress", { model: "a", phase: "spawning", since_ms: 0 }), 0);
    reduce(state, frame("shutdown", { reason: "SIGTERM", deadline_ms: 1 }), 0);
    reconnected(state);
    expect([state.models?.length, state.progress, state.shutdown]).toEqual([1, {}, null]);
  });

  it("keeps the newest notices only", () => {
    for (let n = 0; n < 30; n += 1) reduce(state, frame("notice", { level: "warn", text: `${n}`, at: "" }), n);
    expect(state.notices.length).toBe(20);
    expect(state.notices.at(-1)?.text).toBe("29");
    expect(new Set(state.notices.map(({ key }) => key)).size).toBe(20);
  });
});

describe("server-sent events", () => {
  const texts = (stream: string, sizes: number[]) => {
    const parser = new SseParser();
    const found = [];
    let at = 0;
    for (const size of [...sizes, stream.length]) {
      found.push(...parser.push(stream.slice(at, at + size)));
      at += size;
    }
    return [...found, ...parser.end()].map(({ event, data }) => `${event}:${data}`);
  };

  it.each([[[]], [[1, 1, 1]], [[6]], [Array.from({ length: 60 }, () => 1)]])("are the same however they are cut (%s)", (sizes) => {
    const stream = "event:message\ndata:{}\n\n: beat\n\ndata: a\r\ndata: b\r\n\r\nevent: x\rdata:c\r\rdata: left open";
    expect(texts(stream, sizes)).toEqual(["message:{}", "message:a\nb", "x:c", "message:left open"]);
  });

  it("take one space after the colon away, not more, and fields without a colon", () => {
    expect(texts("data:  two\ndata\nid: 1\nretry: 5\n\n", [])).toEqual(["message: two\n"]);
  });
});
