/** What runs in the Playground, for the mark beside its name: the chat, and requests of the other tabs. */
export const chat = $state({ running: false, others: 0 });

/** Names this page load, so that Activity can show its requests together. */
export const SESSION = `swpg-${Array.from(crypto.getRandomValues(new Uint8Array(5)), (n) => "abcdefghijkmnpqrstuvwxyz23456789"[n % 32]).join("")}`;
