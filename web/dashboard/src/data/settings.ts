import type { Setting } from "@vigilnet/ui/api-types";
import { useCallback, useEffect, useState } from "react";
import { device, run } from "./actions";
import { change, read } from "./client";
import { useLive } from "./live";

/** The entries of an option that is a list. */
export const splitList = (text: string): string[] =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);

/** Every option by its key, in the order of the file. */
export type SettingsByKey = ReadonlyMap<string, Setting>;

export function useSettings(): readonly [SettingsByKey | null, () => void] {
  const [settings, setSettings] = useState<SettingsByKey | null>(null);
  const restarts = useLive((live) => live.status?.restart_needed.join() ?? "");
  const load = useCallback(() => {
    read("settings").then(
      (answer) => setSettings(new Map(answer.settings.map((setting) => [setting.key, setting]))),
      () => undefined, // the page says elsewhere that nobody answers
    );
  }, []);
  useEffect(load, [load, restarts]);
  return [settings, load];
}

/** Writes an option down; one of the device takes effect at once where the device is being steered. */
export async function setOption(key: string, value: string, reload: () => void): Promise<void> {
  await run(() => change("set-option", { key, value }));
  reload();
}

export async function resetOption(key: string, reload: () => void): Promise<void> {
  await run(() => change("reset-option", { key }));
  reload();
}

/** What may be said of the device at once; the same fields as options of the table [device]. */
export async function setDevice(
  name: string,
  value: string | boolean | readonly string[],
  reload: () => void,
) {
  const text = Array.isArray(value) ? value.join(",") : String(value);
  await run(async () => {
    const kept = await change("set-option", { key: `device.${name}`, value: text });
    const { is_up } = await device({ action: "status" });
    if (is_up) await device({ action: "change", fields: { [name]: value } });
    return kept;
  });
  reload();
}
