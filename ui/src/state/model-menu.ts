// What can be done with a model from its menu, in every place that shows one.
import type { MenuItem } from "../components/Menu.svelte";
import { daemonUrl } from "../lib/address";
import { copyText } from "../lib/copy";
import { curlExample, isLocal, isRunning, pythonExample, webPage } from "../lib/models";
import { href } from "../lib/route";
import type { ModelEntry } from "../lib/types";
import { restartModel } from "./actions.svelte";
import { isAdmin } from "./live.svelte";
import { toast } from "./toasts.svelte";

async function copied(what: string, text: string): Promise<void> {
  if (await copyText(text)) toast(`Copied ${what}.`, "ok");
  else toast("The browser did not let the page copy.", "bad");
}

export function menuOf(model: ModelEntry): MenuItem[] {
  const origin = daemonUrl("");
  const items: MenuItem[] = [
    { label: "Chat", href: href("playground", "chat", { model: model.id }) },
    { label: "Activity", href: href("activity", "", { model: model.id }) },
  ];
  if (isLocal(model)) {
    if (isAdmin()) items.push({ label: "Logs", href: href("logs", model.id) });
    items.push({ label: "Open its own page", href: daemonUrl(webPage(model)), external: true });
    if (isRunning(model)) items.push({ label: "Restart", run: () => void restartModel(model.id) });
  }
  items.push(
    { label: "Copy id", run: () => void copied("the id", model.id) },
    { label: "Copy curl example", run: () => void copied("the curl example", curlExample(model.id, origin)) },
    { label: "Copy Python example", run: () => void copied("the Python example", pythonExample(model.id, origin)) },
  );
  return items;
}
