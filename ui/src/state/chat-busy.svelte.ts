/** Whether a request of the Playground is running, for the mark beside its name. */
export const chat = $state({ running: false });
