// Conversations, kept in the browser's IndexedDB: what the list needs in one store, the turns in another. Where
// the browser gives no database (private windows) they live as long as the page.
import type { Turn } from "./chat";

export interface ConversationInfo {
  id: string;
  title: string;
  model: string;
  /** Milliseconds. */
  updated: number;
  bytes: number;
}

export interface Conversation extends ConversationInfo {
  turns: Turn[];
}

/** What may lie there before the oldest go. */
export const MOST_BYTES = 200 * 1024 * 1024;

const NAME = "swapd.v1";

export class ConversationStore {
  #database: Promise<IDBDatabase | null>;
  #memory = new Map<string, Conversation>();

  constructor(private readonly most = MOST_BYTES) {
    this.#database = openDatabase();
  }

  /** The newest first. */
  async list(): Promise<ConversationInfo[]> {
    const database = await this.#database;
    const all = database
      ? await answered<ConversationInfo[]>(database.transaction("info").objectStore("info").getAll())
      : [...this.#memory.values()].map(({ turns: _, ...info }) => info);
    return all.sort((a, b) => b.updated - a.updated);
  }

  async turns(id: string): Promise<Turn[]> {
    const database = await this.#database;
    if (!database) return this.#memory.get(id)?.turns ?? [];
    const found = await answered<{ turns: Turn[] } | undefined>(
      database.transaction("turns").objectStore("turns").get(id),
    );
    return found?.turns ?? [];
  }

  /** Store it, and let the oldest others go until everything fits. */
  async save(conversation: Conversation): Promise<void> {
    const { turns, ...rest } = conversation;
    const info = { ...rest, bytes: JSON.stringify(turns).length };
    const database = await this.#database;
    if (!database) return void this.#memory.set(info.id, { ...info, turns });
    const transaction = database.transaction(["info", "turns"], "readwrite");
    transaction.objectStore("info").put(info);
    transaction.objectStore("turns").put({ id: info.id, turns });
    await finished(transaction);
    await this.#fit(info.id);
  }

  async remove(id: string): Promise<void> {
    this.#memory.delete(id);
    const database = await this.#database;
    if (!database) return;
    const transaction = database.transaction(["info", "turns"], "readwrite");
    transaction.objectStore("info").delete(id);
    transaction.objectStore("turns").delete(id);
    await finished(transaction);
  }

  async clear(): Promise<void> {
    for (const { id } of await this.list()) await this.remove(id);
  }

  async #fit(kept: string): Promise<void> {
    const all = await this.list();
    let total = all.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { id, bytes } of all.reverse()) {
      if (total <= this.most) return;
      if (id === kept) continue;
      await this.remove(id);
      total -= bytes;
    }
  }
}

function openDatabase(): Promise<IDBDatabase | null> {
  return new Promise((resolve) => {
    let request: IDBOpenDBRequest;
    try {
      request = indexedDB.open(NAME, 1);
    } catch {
      return resolve(null);
    }
    request.onupgradeneeded = () => {
      for (const store of ["info", "turns"]) request.result.createObjectStore(store, { keyPath: "id" });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
    request.onblocked = () => resolve(null);
  });
}

function answered<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the database did not answer"));
  });
}

function finished(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () =>
      reject(transaction.error ?? new Error("the browser could not store it"));
  });
}

/** A title out of the first thing that was said. */
export function titleFrom(text: string): string {
  const line = text.trim().split("\n", 1)[0]!.trim();
  return line.length > 60 ? `${line.slice(0, 59)}…` : line || "New chat";
}
