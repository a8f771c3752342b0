// Formulas, in a chunk of its own.
import katex from "katex";
import "katex/dist/katex.min.css";

export function renderMath(tex: string, block: boolean): string | null {
  try {
    return katex.renderToString(tex, { displayMode: block, throwOnError: true, trust: false, maxExpand: 200 });
  } catch {
    return null; // Not a formula, or not yet the whole of it: it is shown as it is written.
  }
}
