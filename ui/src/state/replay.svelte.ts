/** The request body that the Playground is to take over, as JSON text; it clears this when it has. */
export const replayed = $state<{ body: string | null }>({ body: null });

export function replay(body: string): void {
  replayed.body = body;
}
