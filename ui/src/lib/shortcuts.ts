/** The keys of the app and what they do, for the sheet that lists them. */
export const shortcuts: readonly (readonly [string, string])[] = [
  ["g m", "Go to Models"],
  ["g a", "Go to Activity"],
  ["g l", "Go to Logs"],
  ["g p", "Go to Playground"],
  ["g f", "Go to Performance"],
  ["g c", "Go to Config"],
  ["g s", "Go to Settings"],
  ["/", "Jump to the filter of the page"],
  ["Ctrl+B", "Narrow or widen the sidebar"],
  ["Space", "Logs: pause and go on"],
  ["End", "Logs: follow the newest line"],
  ["Esc", "Close what lies on top"],
  ["?", "Show this list"],
];
