import { describe, expect, it } from "vitest";
import { css, plain, spansOf } from "../src/lib/ansi";
import { LineSplitter, type LogLine, NO_FILTER, filtered, matcher, parseRecord, pieces } from "../src/lib/loglines";
import { blocks, closed, render } from "../src/lib/markdown";

describe("ANSI sequences", () => {
  it("become styled spans", () => {
    expect(spansOf("a\u001b[1;31mb\u001b[22mc\u001b[0md")).toEqual([
      { text: "a", style: null },
      { text: "b", style: { bold: true, fg: 1 } },
      { text: "c", style: { fg: 1 } },
      { text: "d", style: null },
    ]);
  });

  it.each([
    ["\u001b[38;5;208mx", { fg: 208 }],
    ["\u001b[48;2;1;2;255mx", { bg: "#0102ff" }],
    ["\u001b[38;2;1;2;999mx", null],
    ["\u001b[97;4;9;3mx", { fg: 15, underline: true, strike: true, italic: true }],
    ["\u001b[mx", null],
  ])("read %j", (line, style) => {
    expect(spansOf(line)).toEqual([{ text: "x", style }]);
  });

  it.each([["\u001b[2Ja\u001b[3;4Hb"], ["\u001b]8;;javascript:alert(1)\u0007ab\u001b]8;;\u0007"], ["a\u0000\u0008b"], ["\u001bPq#0\u001b\\ab"], ["a\u009b31mb".replace("31m", "")]])(
    "that are not colours are dropped: %j",
    (line) => {
      expect(plain(line)).toBe("ab");
    },
  );

  it("never become HTML, whatever they hold", () => {
    const [span] = spansOf("\u001b[1m<img src=x onerror=alert(1)>");
    expect(span?.text).toBe("<img src=x onerror=alert(1)>");
    expect(css({ fg: "#010203", inverse: true })).toBe("color:var(--surface);background:#010203");
  });
});

const line = (text: string, more: Partial<LogLine> = {}): LogLine => ({ key: 0, seq: null, at: null, level: null, source: "upstream", model: "m", text, dropped: 0, ...more });

describe("log lines", () => {
  it("are read from records, gaps among them", () => {
    expect(parseRecord('{"seq":4,"ts":"2026-08-01T12:00:00.250Z","level":"WARN","source":"upstream","model":"m","text":"hi\\n"}', false)).toMatchObject({ seq: 4, level: "warn", model: "m", text: "hi" });
    expect(parseRecord('{"dropped":512,"seq":9}', false)).toMatchObject({ dropped: 512, seq: 9 });
    expect(parseRecord("not json", false)).toBeNull();
  });

  it("are read from plain text, where there is nothing better", () => {
    expect(parseRecord("[ERROR] it broke", true)).toMatchObject({ level: "error", text: "[ERROR] it broke" });
    expect(parseRecord("— 77 bytes dropped —", true)).toMatchObject({ dropped: 77, text: "" });
  });

  it("are whole, however the stream was cut", () => {
    const splitter = new LineSplitter();
    expect([...splitter.push("a\nb"), ...splitter.push("c\n\nd")]).toEqual(["a", "bc", ""]);
  });

  it("pass a filter by text, level and model", () => {
    const lines = [line("Error: x"), line("fine", { level: "error", model: "other" }), line("", { dropped: 5 })];
    const count = (filter: object) => filtered(lines, { ...NO_FILTER, ...filter }, matcher({ ...NO_FILTER, ...filter })).length;
    expect(count({})).toBe(3);
    expect(count({ text: "error" })).toBe(2);
    expect(count({ text: "error", matchCase: true })).toBe(1);
    expect(count({ text: "^e.*x$", regex: true })).toBe(2);
    expect(count({ text: "(", regex: false })).toBe(1);
    expect(count({ levels: ["error"] })).toBe(2);
    expect(count({ models: ["other"] })).toBe(2);
  });

  it("are not filtered by a pattern that is none, and the reason is told", () => {
    const filter = { ...NO_FILTER, text: "(", regex: true };
    const by = matcher(filter);
    expect(by.error).toContain("Unterminated group");
    expect(filtered([line("a"), line("b")], filter, by).length).toBe(2);
  });

  it("are shown with those around them if wanted", () => {
    const lines = ["a", "b", "hit", "c", "d"].map((text) => line(text));
    const filter = { ...NO_FILTER, text: "hit", context: 1 };
    expect(filtered(lines, filter, matcher(filter)).map(({ text }) => text)).toEqual(["b", "hit", "c"]);
  });

  it("have their matches marked", () => {
    expect(pieces("abcabc", /b/g)).toEqual([
      { text: "a", match: false },
      { text: "b", match: true },
      { text: "ca", match: false },
      { text: "b", match: true },
      { text: "c", match: false },
    ]);
    const used = /b/g;
    used.test("ab");
    expect(pieces("ba", used)[0]).toEqual({ text: "b", match: true });
    expect(pieces("abc", /x*/g)).toEqual([{ text: "abc", match: false }]);
  });
});

describe("Markdown", () => {
  it("makes the usual things", () => {
    const html = render("# T\n\n- a\n\n|x|y|\n|-|-|\n|1|2|\n\n```py\n<b>\n```\n");
    for (const part of ["<h1>T</h1>", "<li>a</li>", "<td>1</td>", 'data-language="py"', "&lt;b&gt;"]) expect(html).toContain(part);
  });

  it.each([
    ["<img src=x onerror=alert(1)>"],
    ["<script>alert(1)</script>"],
    ["[a](javascript:alert(1))"],
    ["[a](data:text/html;base64,PHNjcmlwdD4=)"],
    ["![a](javascript:alert(1))"],
    ['<a href="x" onclick="alert(1)">a</a>'],
    ["```\"><img src=x onerror=alert(1)>\nx\n```"],
    ["<svg><style><img src=x onerror=alert(1)></style></svg>"],
    ["$<img src=x onerror=alert(1)>$"],
  ])("lets nothing act: %s", (source) => {
    const page = new DOMParser().parseFromString(render(source), "text/html");
    expect(page.querySelectorAll("script, img, iframe, style, form").length).toBe(0);
    for (const element of page.querySelectorAll("*"))
      for (const { name, value } of element.attributes) {
        expect(name.startsWith("on")).toBe(false);
        expect(value).not.toMatch(/^\s*(javascript|data:text)/i);
      }
  });

  it("shows pictures from elsewhere as links that say where", () => {
    const html = render("![cat](https://evil.example/cat.png?talk=secret)");
    expect(html).not.toContain("<img");
    expect(html).toContain("picture at evil.example");
    expect(html).toContain('rel="noopener noreferrer"');
  });

  it("leaves amounts of money alone", () => {
    expect(render("from $5 to $6")).not.toContain("tex");
    expect(render("$a+b$")).toContain("tex");
    expect(render("\\(a\\) and\n\n$$\nb\n$$")).toContain('<code class="tex">b</code>');
  });

  it("has blocks that stay while it grows", () => {
    const whole = "One\n\n```js\na\n\nb\n```\n\n1. x\n\n2. y\n\nEnd";
    const finished = blocks(whole);
    expect(finished[0]).toBe("One");
    expect(finished[1]).toBe("```js\na\n\nb\n```");
    for (let length = 1; length < whole.length; length += 1) {
      const sofar = blocks(whole.slice(0, length));
      expect(finished.slice(0, sofar.length - 1)).toEqual(sofar.slice(0, -1));
    }
  });

  it("ends a list with the first line that is not part of it, so that a long answer stays many blocks", () => {
    expect(blocks("- a\n\n- b\n\n  more\n\n| x |\n|-|\n\nEnd")).toEqual(["- a\n\n- b\n\n  more", "| x |\n|-|", "End"]);
  });

  it("closes what is open", () => {
    expect(closed("```js\na")).toBe("```js\na\n```");
    expect(closed("$$ a")).toBe("$$ a\n$$");
    expect(closed("```\na\n```")).toBe("```\na\n```");
  });
});
