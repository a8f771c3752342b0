import type { TimeFormat } from "../lib/format";
import { Stored } from "./stored.svelte";

export const settings = new Stored("settings", {
  title: "",
  mode: "system" as string,
  palette: "default" as string,
  time: "relative" as string,
  landing: "" as string,
  tags: false,
  logLines: 20_000,
});

export const shell = new Stored("sidebar", { collapsed: false, modelsOpen: true, last: "" });

export function timeFormat(): TimeFormat {
  return settings.value.time as TimeFormat;
}

/** Counts up with every change of colours, for what is drawn on a canvas. */
export const painted = $state({ times: 0 });

/** The media query decides where the person does not; `theme.js` does the same before the first paint. */
export function applyTheme(): void {
  const { mode, palette } = settings.value;
  const dark = mode === "dark" || (mode === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.documentElement.dataset.palette = palette;
  painted.times += 1;
}
