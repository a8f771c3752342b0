import { load, save } from "../lib/stored";

/** A value that is remembered: `value` is reactive, and what is put into it is there again after a reload. */
export class Stored<T> {
  value: T = $state(undefined as T);

  constructor(name: string, fallback: T) {
    this.value = load(name, fallback);
    let known = false;
    $effect.root(() => {
      $effect(() => {
        const snapshot = $state.snapshot(this.value);
        if (known) save(name, snapshot);
        known = true;
      });
    });
  }
}
