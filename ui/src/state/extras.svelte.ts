import { extras } from "../lib/markdown";

/** Counts up when colouring and formulas have arrived, so that what is shown already is shown again. */
export const arrived = $state({ times: 0 });
let asked = false;

export function loadExtras(): void {
  if (asked) return;
  asked = true;
  void import("../lib/highlight").then(({ highlight }) => {
    extras.highlight = highlight;
    arrived.times += 1;
  });
  void import("../lib/math").then(({ renderMath }) => {
    extras.math = renderMath;
    arrived.times += 1;
  });
}
