// What happens to the bundle after it has been made: compressed copies beside the files, and the licences of
// what is in it.
import { readFileSync, readdirSync, statSync, writeFileSync, existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import type { Plugin, ResolvedConfig } from "vite";

const COMPRESSIBLE = /\.(js|css|html|svg|json|txt)$/;
/** Below this, a compressed copy saves no packet. */
const LEAST_BYTES = 1024;

/** Writes `<file>.br` and `<file>.gz` beside every file that shrinks. */
export function precompressed(): Plugin {
  let config: ResolvedConfig;
  return {
    name: "precompressed",
    apply: "build",
    enforce: "post",
    configResolved(resolved) {
      config = resolved;
    },
    closeBundle() {
      for (const file of filesBelow(resolve(config.root, config.build.outDir))) {
        if (!COMPRESSIBLE.test(file)) continue;
        const content = readFileSync(file);
        if (content.length < LEAST_BYTES) continue;
        const quality = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
        writeFileSync(`${file}.br`, brotliCompressSync(content, { params: quality }));
        writeFileSync(`${file}.gz`, gzipSync(content, { level: 9 }));
      }
    },
  };
}

/** Writes `licences.json`: name, version, licence and its text of every package that has code in the bundle. */
export function licences(): Plugin {
  return {
    name: "licences",
    apply: "build",
    generateBundle() {
      const found = new Map<string, object>();
      for (const id of this.getModuleIds()) {
        const place = /^(.*\/node_modules\/((?:@[^/]+\/)?[^/]+))\//.exec(id.replace(/^\0/, ""));
        if (!place || found.has(place[2]!) || !existsSync(join(place[1]!, "package.json"))) continue;
        const { version, license } = JSON.parse(readFileSync(join(place[1]!, "package.json"), "utf8")) as {
          version: string;
          license?: string;
        };
        const file = readdirSync(place[1]!).find((name) => /^(licen[cs]e|copying)/i.test(name));
        const text = file ? readFileSync(join(place[1]!, file), "utf8") : "";
        found.set(place[2]!, { name: place[2], version, licence: license ?? "", text });
      }
      const list = [...found].sort(([a], [b]) => a.localeCompare(b)).map(([, entry]) => entry);
      this.emitFile({ type: "asset", fileName: "licences.json", source: JSON.stringify(list) });
    },
  };
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name);
    return statSync(path).isDirectory() ? filesBelow(path) : [path];
  });
}

/** KaTeX's fonts in the one format that every browser of today reads. */
export function woff2Only(): Plugin {
  return {
    name: "woff2-only",
    enforce: "pre",
    transform(code, id) {
      if (!id.includes("katex") || !id.includes(".css")) return null;
      return code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\(["'][^"']*["']\)/g, "");
    },
  };
}
