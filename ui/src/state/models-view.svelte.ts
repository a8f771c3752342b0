import { Stored } from "./stored.svelte";

export const modelsView = new Stored("models", { unlisted: false, sort: "name" as string, pins: [] as string[] });
