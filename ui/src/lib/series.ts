// Samples as chart data: every series on its own timestamps, gaps shown as gaps.
import type { GpuSample, SysSample } from "./types";

/** uPlot's layout: seconds, then one array a series. */
export type Aligned = [number[], ...(number | null)[][]];

export interface Series {
  label: string;
  points: readonly (readonly [at: number, value: number | null])[];
}

/**
 * Put series on one time axis. Where a series has no sample near a time of another, it gets null; samples closer
 * than `tolerance` seconds count as taken at the same time. A pause longer than `gap` seconds breaks the line.
 */
export function align(series: readonly Series[], tolerance: number, gap: number): Aligned {
  const all = series.flatMap(({ points }) => points.map(([at]) => at)).sort((a, b) => a - b);
  const times: number[] = [];
  for (const at of all) {
    const last = times.at(-1);
    if (last === undefined || at - last > tolerance) {
      if (last !== undefined && at - last > gap) times.push(last + gap / 2);
      times.push(at);
    }
  }
  const columns = series.map(({ points }) => {
    const column: (number | null)[] = new Array<number | null>(times.length).fill(null);
    let row = 0;
    for (const [at, value] of points) {
      while (row + 1 < times.length && times[row + 1]! <= at) row += 1;
      if (Math.abs(times[row]! - at) <= tolerance) column[row] = value;
    }
    return column;
  });
  return [times, ...columns];
}

/** The values as numbers: a coarser ring sends {min, avg, max} for each. */
export function flat(value: unknown): number | null {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  const average = (value as { avg?: unknown } | null)?.avg;
  return typeof average === "number" ? average : null;
}

export function seconds(sample: { timestamp: string }): number {
  return Date.parse(sample.timestamp) / 1000;
}

/** New samples behind old ones: no duplicates, in order, nothing older than `keep` seconds before the newest. */
export function merge<T extends { timestamp: string }>(
  old: readonly T[],
  added: readonly T[],
  identity: (sample: T) => string,
  keep: number,
): T[] {
  const seen = new Set(old.map((sample) => sample.timestamp + identity(sample)));
  const all = [...old, ...added.filter((sample) => !seen.has(sample.timestamp + identity(sample)))];
  all.sort((a, b) => seconds(a) - seconds(b));
  const newest = all.at(-1);
  if (!newest) return all;
  const oldest = seconds(newest) - keep;
  return all.filter((sample) => seconds(sample) >= oldest);
}

export function cpuAverage(sample: SysSample): number | null {
  const total = flat(sample.cpu_util_pct);
  if (total !== null) return total;
  const cores = sample.cpu_util_per_core ?? [];
  return cores.length ? cores.reduce((sum, core) => sum + core, 0) / cores.length : null;
}

export function busiestCore(sample: SysSample): number | null {
  return sample.cpu_util_per_core?.length ? Math.max(...sample.cpu_util_per_core) : null;
}

export interface Traffic {
  name: string;
  received: Series["points"];
  sent: Series["points"];
}

/** Megabits a second of each interface, from counters that only grow; a counter that fell began anew. */
export function traffic(samples: readonly SysSample[]): Traffic[] {
  const received = new Map<string, [number, number | null][]>();
  const sent = new Map<string, [number, number | null][]>();
  let before: SysSample | null = null;
  for (const sample of samples) {
    const at = seconds(sample);
    for (const { name, bytes_recv, bytes_sent } of sample.net_io ?? []) {
      const earlier = before?.net_io.find((other) => other.name === name);
      if (!earlier || !before) continue;
      const span = at - seconds(before);
      const rate = (now: number, then: number) => (span > 0 && now >= then ? ((now - then) * 8) / span / 1e6 : null);
      push(received, name, [at, rate(bytes_recv, earlier.bytes_recv)]);
      push(sent, name, [at, rate(bytes_sent, earlier.bytes_sent)]);
    }
    before = sample;
  }
  return [...received].map(([name, points]) => ({ name, received: points, sent: sent.get(name) ?? [] }));
}

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

/** A GPU's value; null where the daemon says that it does not know, although it has to send a number. */
export function gpuValue(sample: GpuSample, field: keyof GpuSample): number | null {
  return sample.unknown?.includes(field) ? null : flat(sample[field]);
}

export function byGpu(samples: readonly GpuSample[]): { id: string; name: string; samples: GpuSample[] }[] {
  const found = new Map<string, GpuSample[]>();
  for (const sample of samples) push(found, sample.uuid || String(sample.id), sample);
  const several = new Set<string>();
  const names = [...found.values()].map((list) => list[0]!.name);
  names.forEach((name, index) => names.indexOf(name) !== index && several.add(name));
  return [...found].map(([id, list]) => {
    const { name, id: number } = list[0]!;
    return { id, name: several.has(name) ? `${name} #${number}` : name, samples: list };
  });
}

/** VRAM by model over time, in GiB, for stacking: each model's series lies on top of those before it. */
export function vramByModel(samples: readonly GpuSample[]): Series[] {
  const times = new Map<number, Map<string, number>>();
  const models = new Set<string>();
  for (const sample of samples) {
    const at = seconds(sample);
    const row = times.get(at) ?? new Map<string, number>();
    times.set(at, row);
    for (const { model, mem_mb } of sample.procs ?? []) {
      const name = model ?? "other processes";
      models.add(name);
      row.set(name, (row.get(name) ?? 0) + (mem_mb ?? 0) / 1024);
    }
  }
  return [...models].sort().map((label) => ({
    label,
    points: [...times].map(([at, row]) => [at, row.get(label) ?? 0] as const),
  }));
}
