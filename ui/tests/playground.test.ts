import { describe, expect, it } from "vitest";
import { asText, type Hardware } from "../src/lib/hardware";
import { type Run, cosine, percentile, picturesOf, rerankFrom, scoresOf, subtitles, summaries, summaryMarkdown, tabOf, ticks, vectorsOf, voicesOf } from "../src/lib/playground";

describe("answers of the other interfaces", () => {
  it("finds pictures in OpenAI's and in the Stable Diffusion web API's form, whatever kind they are", () => {
    expect(picturesOf({ data: [{ b64_json: "iVBOR" }, { url: "https://x.test/a.png" }] })).toEqual(["data:image/png;base64,iVBOR", "https://x.test/a.png"]);
    expect(picturesOf({ images: ["/9j/4AA", "UklGRxx", "data:image/png;base64,AA"] })).toEqual(["data:image/jpeg;base64,/9j/4AA", "data:image/webp;base64,UklGRxx", "data:image/png;base64,AA"]);
    expect(picturesOf(null)).toEqual([]);
  });

  it("reads voices in all three forms", () => {
    expect(voicesOf(["a", "b"])).toEqual(["a", "b"]);
    expect(voicesOf({ voices: ["a"] })).toEqual(["a"]);
    expect(voicesOf({ voices: [{ id: "a", name: "A" }, { name: "B" }, 3] })).toEqual(["a", "B"]);
    expect(voicesOf({ detail: "no" })).toEqual([]);
  });

  it("puts scores where their documents are", () => {
    expect(scoresOf({ results: [{ index: 2, relevance_score: 0.9 }, { index: 0, relevance_score: -1 }, { index: 9, relevance_score: 1 }] }, 3)).toEqual([-1, null, 0.9]);
  });

  it("takes vectors by their index and compares them", () => {
    expect(vectorsOf({ data: [{ index: 1, embedding: [0, 1] }, { index: 0, embedding: [1, 0] }] })).toEqual([[1, 0], [0, 1]]);
    expect(cosine([1, 0], [0, 1])).toBe(0);
    expect(cosine([2, 2], [1, 1])).toBeCloseTo(1);
    expect(cosine([0, 0], [1, 1])).toBeNull();
  });

  it("writes subtitles, also beyond an hour and across a second", () => {
    const segments = [{ start: 0, end: 1.9999, text: " Hello" }, { start: 3661.25, end: 3662, text: "world" }];
    expect(subtitles(segments, "srt")).toBe("1\n00:00:00,000 --> 00:00:02,000\nHello\n\n2\n01:01:01,250 --> 01:01:02,000\nworld\n");
    expect(subtitles(segments, "vtt")).toMatch(/^WEBVTT\n\n00:00:00\.000 --> /);
  });

  it("accepts what somebody typed only if it is a query with documents", () => {
    expect(rerankFrom('{"query": "q", "documents": ["a", {"text": "b"}]}')).toEqual({ query: "q", documents: ["a", "b"] });
    expect(rerankFrom('{"query": 1, "documents": []}')).toBeNull();
    expect(rerankFrom("{")).toBeNull();
  });

  it("knows its tabs", () => {
    expect([tabOf("rerank"), tabOf("nonsense"), tabOf("")]).toEqual(["rerank", "chat", "chat"]);
  });
});

describe("a load test", () => {
  const run = (key: number, more: Partial<Run>): Run => ({ key, model: "owl", status: "done", started: 0, ended: 1000, phases: [], text: "", error: "", ttft: 100, tokens: 50, speed: 40, ...more });

  it("sums up each model and all of them; what was stopped does not count", () => {
    const all = summaries([run(0, {}), run(1, { started: 1000, ended: 3000, ttft: 300 }), run(2, { model: "wren", status: "error" }), run(3, { status: "stopped" })]);
    expect(all.map(({ model, requests, errors }) => [model, requests, errors])).toEqual([["owl", 2, 0], ["wren", 1, 1], ["all", 3, 1]]);
    expect(all[0]!.ttft[0]).toBe(200);
    expect(all[0]!.total).toEqual([1500, 1950, 1990]);
    expect(all[0]!.together).toBeCloseTo(100 / 3);
    expect(all[1]!.ttft).toEqual([null, null, null]);
    expect(summaryMarkdown(all)).toContain("| owl | 2 | 0 | 200 ms / 290 ms / 298 ms |");
  });

  it("interpolates percentiles and marks an axis", () => {
    expect([percentile([1, 2, 3, 4], 0.5), percentile([7], 0.99), percentile([], 0.5)]).toEqual([2.5, 7, null]);
    expect(ticks(1000)).toEqual([0, 200, 400, 600, 800, 1000]);
    expect(ticks(90_000).length).toBeLessThanOrEqual(9);
  });
});

describe("the hardware", () => {
  it("becomes text that says what is not known", () => {
    const machine: Hardware = {
      captured_at: "2026-01-01T00:00:00Z",
      architecture: { name: "x86_64", raw_name: "x86_64" },
      operating_system: { family: "linux", name: "Debian", version: "13", kernel: null },
      environment: { kind: "container", name: null, version: null },
      cpu: { vendor: null, model: null, socket_count: 1, physical_core_count: null, logical_thread_count: 2 },
      memory: { capacity_bytes: 24 * 2 ** 30 },
      accelerators: [{ index: 0, kind: "gpu", vendor: "NVIDIA", model: "RTX", architecture: null, memory: { kind: "dedicated", capacity_bytes: 25_769_803_776 }, driver: null, power_limit_watts: 350.4 }],
    };
    expect(asText(machine)).toContain("kernel not detected");
    expect(asText(machine)).toContain("Accelerator 0: gpu, NVIDIA RTX, 24 GiB (dedicated), driver not detected, limit 350 W");
  });
});
