import "fake-indexeddb/auto";
import { describe, expect, it } from "vitest";
import { asCurl, answerOf, bodyOf, conversationOf, framesOf } from "../src/lib/capture";
import { Assembler, DEFAULTS, type Turn, complaints, requestBody } from "../src/lib/chat";
import { ConversationStore, titleFrom } from "../src/lib/conversations";

function assembled(payloads: unknown[]): Assembler {
  const assembler = new Assembler("m", 0);
  payloads.forEach((payload, index) => assembler.push(typeof payload === "string" ? payload : JSON.stringify(payload), (index + 1) * 10));
  return assembler;
}
const delta = (part: object, more = {}) => ({ choices: [{ delta: part }], ...more });

describe("an answer", () => {
  it("comes together from a chat stream, with its numbers", () => {
    const { text, answer, done } = assembled([
      delta({ role: "assistant", content: null }),
      delta({ reasoning_content: "Hm. " }),
      delta({ content: "Hel" }),
      delta({ content: "lo" }),
      { choices: [{ delta: {}, finish_reason: "length" }] },
      { choices: [], usage: { prompt_tokens: 9, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 4 } }, timings: { prompt_n: 5, predicted_n: 2, cache_n: 4, prompt_per_second: 100, predicted_per_second: 40, draft_n: 8, draft_n_accepted: 6 } },
      "[DONE]",
    ]);
    expect([text, answer.reasoning, answer.finish, done]).toEqual(["Hello", "Hm. ", "length", true]);
    expect(answer.usage).toEqual({ input: 5, output: 2, cached: 4, promptSpeed: 100, speed: 40, drafted: 8, accepted: 6 });
    expect([answer.ttftMs, answer.reasoningMs, answer.totalMs]).toEqual([20, 10, 70]);
  });

  it("comes together from Anthropic's events", () => {
    const { text, answer } = assembled([
      { type: "message_start", message: { model: "real", usage: { input_tokens: 12 } } },
      { type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: "so" } },
      { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "yes" } },
      { type: "content_block_start", index: 2, content_block: { type: "tool_use", name: "add" } },
      { type: "content_block_delta", index: 2, delta: { type: "input_json_delta", partial_json: '{"a":1}' } },
      { type: "message_delta", delta: { stop_reason: "tool_use" }, usage: { output_tokens: 7 } },
    ]);
    expect([text, answer.reasoning, answer.finish]).toEqual(["yes", "so", "tool_use"]);
    expect(answer.tools[2]).toEqual({ name: "add", args: '{"a":1}' });
    expect([answer.usage.input, answer.usage.output]).toEqual([12, 7]);
  });

  it("comes together from the events of Responses", () => {
    const { text, answer } = assembled([
      { type: "response.reasoning_summary_text.delta", delta: "well" },
      { type: "response.output_text.delta", delta: "a" },
      { type: "response.output_text.delta", delta: "b" },
      { type: "response.completed", response: { status: "completed", usage: { input_tokens: 3, output_tokens: 2 } } },
    ]);
    expect([text, answer.reasoning, answer.finish, answer.usage.output]).toEqual(["ab", "well", "completed", 2]);
  });

  it("keeps what the daemon says while loading apart from the reasoning", () => {
    const loading = "━━━━━\nswapd loading model: m\n..\nDone!\n━━━━━\n";
    for (const size of [1, 3, loading.length]) {
      const parts = [];
      for (let at = 0; at < loading.length; at += size) parts.push(delta({ reasoning_content: loading.slice(at, at + size) }));
      const { text, answer } = assembled([...parts, delta({ reasoning_content: "I think" }), delta({ content: "ok" })]);
      expect([text, answer.reasoning.trim()]).toEqual(["ok", "I think"]);
      expect(answer.loading).toContain("loading model: m");
    }
  });

  it("says what went wrong in the middle, and does not mind noise", () => {
    const { text, answer } = assembled(["", "not json", "null", delta({ content: "x" }), { error: { message: "out of memory" } }]);
    expect([text, answer.error]).toEqual(["x", "out of memory"]);
  });
});

describe("a request", () => {
  const turns: Turn[] = [
    { id: "1", role: "user", text: "look", pictures: [{ name: "p", url: "data:image/png;base64,AAAA" }] },
    { id: "2", role: "assistant", text: "seen", answer: { ...new Assembler("m", 0).answer, reasoning: "secret thoughts" } },
    { id: "3", role: "user", text: "and now?" },
  ];

  it.each([["chat"], ["messages"], ["responses"]] as const)("for %s sends turns and pictures, but no reasoning", (endpoint) => {
    const text = JSON.stringify(requestBody("m", turns, { ...DEFAULTS, endpoint, system: "be kind" }));
    expect(text).not.toContain("secret thoughts");
    for (const part of ["AAAA", "seen", "and now?", "be kind", '"stream":true']) expect(text).toContain(part);
  });

  it("leaves out what was left empty, and takes more members over the rest", () => {
    const body = requestBody("m", turns, { ...DEFAULTS, temperature: "", top_k: "40", stop: "a\n\\n\\n", extra: '{"top_k": 1, "x": {}}' });
    expect(body.temperature).toBeUndefined();
    expect([body.top_k, body.x, body.stop]).toEqual([1, {}, ["a", "\n\n"]]);
  });

  it("is not made from parameters that cannot be meant", () => {
    expect(complaints(DEFAULTS)).toEqual([]);
    expect(complaints({ ...DEFAULTS, seed: "x", extra: "[1]", json: true, schema: "{" }).length).toBe(3);
  });
});

describe("a capture", () => {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const stream = bodyOf(base64('data: {"choices":[{"delta":{"content":"ü"}}]}\n\ndata: [DONE]\n\n'), { "Content-Type": "text/event-stream; charset=utf-8" });

  it("knows what its bodies are", () => {
    expect(stream.kind).toBe("sse");
    expect(bodyOf(null, null).kind).toBe("empty");
    expect(bodyOf(base64("{}"), {}).kind).toBe("json");
    expect(bodyOf("//79", {}).kind).toBe("binary");
    expect(bodyOf("AAAA", { "content-type": "image/png" }).kind).toBe("image");
    expect(bodyOf(base64("<svg onload=alert(1)>"), { "content-type": "image/svg+xml" }).kind).toBe("text");
  });

  it("reads its answer and the times of its events", () => {
    expect(answerOf(stream)?.text).toBe("ü");
    expect(framesOf(stream, [[5, 0], [30, 10]]).map(({ at }) => at)).toEqual([30, 30]);
  });

  it("reads its request as a conversation", () => {
    const body = bodyOf(base64(JSON.stringify({ system: "s", messages: [{ role: "user", content: [{ type: "text", text: "hi" }, { type: "image_url", image_url: { url: "https://elsewhere/x.png" } }] }, { role: "assistant", tool_calls: [{ id: 1 }] }] })), {});
    const spoken = conversationOf(body)!;
    expect(spoken.map(({ role }) => role)).toEqual(["system", "user", "assistant"]);
    expect([spoken[1]!.text, spoken[1]!.pictures, spoken[2]!.data.length]).toEqual(["hi", [], 1]);
  });

  it("becomes a curl command that a shell takes as it is", () => {
    const command = asCurl({ id: 1, req_path: "/v1/x", req_headers: { Authorization: "[REDACTED]", "X-A": "it's", Host: "h" }, req_body: base64(`{"a":"it's"}`), resp_headers: null, resp_body: null }, "http://h/");
    expect(command).toContain("'X-A: it'\\''s'");
    expect(command).toContain('"Authorization: $SWAPD_KEY"');
    expect(command).not.toContain("Host");
    expect(command).toContain(`--data-binary '{"a":"it'\\''s"}'`);
  });
});

describe("kept conversations", () => {
  const conversation = (id: string, updated: number, text = "x") => ({ id, title: id, model: "m", updated, bytes: 0, turns: [{ id: "t", role: "user" as const, text }] });

  it("are listed from the newest on, and let the oldest go when there are too many", async () => {
    const store = new ConversationStore(600);
    await store.save(conversation("old", 1, "a".repeat(200)));
    await store.save(conversation("new", 3, "b".repeat(200)));
    await store.save(conversation("mid", 2));
    expect((await store.list()).map(({ id }) => id)).toEqual(["new", "mid", "old"]);
    await store.save(conversation("newest", 4, "c".repeat(300)));
    expect((await store.list()).map(({ id }) => id)).toEqual(["newest", "new"]);
    expect((await store.turns("newest"))[0]!.text.length).toBe(300);
    await store.clear();
    expect(await store.list()).toEqual([]);
  });

  it("are named after what was said first", () => {
    expect(titleFrom("  Hello there\nmore")).toBe("Hello there");
    expect(titleFrom("x".repeat(80)).length).toBe(60);
    expect(titleFrom("")).toBe("New chat");
  });
});
