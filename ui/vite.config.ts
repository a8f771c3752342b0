/// <reference types="vitest/config" />
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";
import { licences, precompressed, woff2Only } from "./build-steps.ts";
import { standIn } from "./dev/stand-in.ts";

const DAEMON = process.env.SWAPD_URL;
const PROXIED = ["api", "logs", "v1", "v", "upstream", "sdapi", "comfyui", "running", "unload", "metrics", "health"];

export default defineConfig(({ mode }) => ({
  // Below whatever path the daemon is reached by.
  base: "./",
  plugins: [svelte(), woff2Only(), ...(DAEMON ? [] : [standIn()]), licences(), precompressed()],
  resolve: mode === "test" ? { conditions: ["browser"] } : {},
  build: {
    outDir: "../swapd/http/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  server: DAEMON
    ? { proxy: Object.fromEntries(PROXIED.map((path) => [`/${path}`, { target: DAEMON, changeOrigin: true }])) }
    : {},
  test: { environment: "jsdom", include: ["tests/**/*.test.ts"] },
}));
