// Server-sent events (WHATWG HTML §9.2.6) out of text that arrives in pieces. Unlike EventSource it shows
// comments, which is how a quiet stream proves that it is alive, and the status of a refusal.

export interface SseEvent {
  /** The `event:` field; "message" if there was none. */
  event: string;
  data: string;
}

/** Feed it text as it comes; it returns the events that are complete. */
export class SseParser {
  #rest = "";
  #event = "";
  #data: string[] = [];
  #sawCarriageReturn = false;

  push(text: string): SseEvent[] {
    if (this.#sawCarriageReturn && text.startsWith("\n")) text = text.slice(1);
    if (text !== "") this.#sawCarriageReturn = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop()!;
    const events: SseEvent[] = [];
    for (const line of lines) {
      const event = this.#line(line);
      if (event) events.push(event);
    }
    return events;
  }

  /** What the stream ended in. The standard drops it; model servers that forget the last blank line exist. */
  end(): SseEvent[] {
    const event = this.#line(this.#rest) ?? this.#dispatch();
    this.#rest = "";
    return event ? [event] : [];
  }

  #line(line: string): SseEvent | null {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    return null;
  }

  #dispatch(): SseEvent | null {
    if (this.#data.length === 0) {
      this.#event = "";
      return null;
    }
    const event = { event: this.#event || "message", data: this.#data.join("\n") };
    this.#event = "";
    this.#data = [];
    return event;
  }
}

/** Read a body to its end, piece by piece, as UTF-8 text. */
export async function* textOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const text = decoder.decode(value, { stream: true });
      yield text;
    }
    const rest = decoder.decode();
    if (rest) yield rest;
  } finally {
    reader.cancel().catch(() => {});
  }
}
