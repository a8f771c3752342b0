// The snapshot of the machine, as `/api/hardware` sends it.

export interface Hardware {
  captured_at: string;
  architecture: { name: string; raw_name: string | null };
  operating_system: { family: string; name: string | null; version: string | null; kernel: string | null };
  environment: { kind: string; name: string | null; version: string | null };
  cpu: {
    vendor: string | null;
    model: string | null;
    socket_count: number | null;
    physical_core_count: number | null;
    logical_thread_count: number | null;
  };
  memory: { capacity_bytes: number };
  accelerators: {
    index: number;
    kind: "gpu" | "npu" | "other";
    raw_kind?: string;
    vendor: string | null;
    model: string | null;
    architecture: string | null;
    memory: { kind: string; capacity_bytes: number | null };
    driver: { name: string | null; version: string | null } | null;
    power_limit_watts: number | null;
  }[];
}

const KINDS: Record<string, string> = {
  native: "on the machine itself",
  container: "in a container",
  virtual_machine: "in a virtual machine",
  wsl: "in WSL",
  dedicated: "of its own",
  unified: "shared with the processor",
  shared_system: "part of the system's memory",
  unknown: "",
  other: "",
};

export function kindOf(kind: string): string {
  return KINDS[kind] ?? kind;
}

export function size(bytes: number): string {
  const gib = bytes / 2 ** 30;
  return `${gib >= 100 ? Math.round(gib) : +gib.toFixed(1)} GiB`;
}

/** Plain text for a bug report. */
export function asText(hardware: Hardware): string {
  const { operating_system: os, architecture, environment, cpu, memory } = hardware;
  const words = (...parts: (string | number | null | undefined)[]) => parts.filter((part) => part !== null && part !== undefined && part !== "").join(" ");
  const known = (text: string) => text || "not detected";
  return [
    `Captured: ${hardware.captured_at}`,
    `System: ${known(words(os.name ?? os.family, os.version))}, kernel ${known(words(os.kernel))}, ${architecture.name === "other" ? known(words(architecture.raw_name)) : architecture.name}`,
    `Environment: ${words(environment.kind, environment.name, environment.version)}`,
    `CPU: ${known(words(cpu.model))}, ${cpu.socket_count ?? "?"} sockets, ${cpu.physical_core_count ?? "?"} cores, ${cpu.logical_thread_count ?? "?"} threads`,
    `Memory: ${size(memory.capacity_bytes)}`,
    ...(hardware.accelerators.length ? [] : ["Accelerators: none detected"]),
    ...hardware.accelerators.map(
      ({ index, kind, raw_kind, vendor, model, architecture: family, memory: own, driver, power_limit_watts: limit }) =>
        `Accelerator ${index}: ${words(raw_kind ?? kind)}, ${known(words(vendor, model))}${family ? `, ${family}` : ""}, ${own.capacity_bytes === null ? "memory not detected" : size(own.capacity_bytes)} (${own.kind}), driver ${known(words(driver?.name, driver?.version))}${limit === null ? "" : `, limit ${Math.round(limit)} W`}`,
    ),
    "",
  ].join("\n");
}
