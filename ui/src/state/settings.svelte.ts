import type { TimeFormat } from "../lib/format";
import { Stored } from "./stored.svelte";

/** What the daemon's configuration says about the page; the empty text where it says nothing. */
const configured = (name: string): string => document.documentElement.dataset[name] ?? "";

/** Empty values leave the choice to the daemon's configuration. */
export const settings = new Stored("settings", {
  title: "",
  mode: "" as string,
  palette: "default" as string,
  time: "relative" as string,
  landing: "" as string,
  tags: false,
  logLines: 20_000,
});

export const shell = new Stored("sidebar", { collapsed: false, modelsOpen: true, last: "" });

export const DEFAULT_TITLE = configured("title") || "swapd";
export const FIRST_PAGE = configured("page") || "models";

export function title(): string {
  return settings.value.title || DEFAULT_TITLE;
}

/** "light", "dark" or "system". */
export function mode(): string {
  return [settings.value.mode, configured("scheme")].find((each) => MODES.includes(each)) ?? "system";
}
const MODES = ["light", "dark", "system"];

export function timeFormat(): TimeFormat {
  return settings.value.time as TimeFormat;
}

/** Counts up with every change of colours, for what is drawn on a canvas. */
export const painted = $state({ times: 0 });

/** The media query decides where the person does not; `theme.js` does the same before the first paint. */
export function applyTheme(): void {
  const { palette } = settings.value;
  const dark = mode() === "dark" || (mode() === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.documentElement.dataset.palette = palette;
  painted.times += 1;
}
