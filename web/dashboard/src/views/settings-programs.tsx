import { Button, Select, TextField } from "@vigilnet/ui/controls";
import { countryName } from "@vigilnet/ui/format";
import { useLang, useT } from "@vigilnet/ui/i18n";
import { useState } from "react";
import { device, run, useBusy } from "../data/actions";
import { splitList, type SettingsByKey } from "../data/settings";
import { useExits } from "./where-to-leave";

/** A remembered program; its way is "outside", "inside", or "exit" and a country or a peer id. */
export interface Program {
  path: string;
  way: string;
}

/** The programs of the three options that name them. */
export function programsOf(settings: SettingsByKey): Program[] {
  const list = (name: string) => splitList(settings.get(`device.${name}_programs`)?.value ?? "");
  return [
    ...list("outside").map((path) => ({ path, way: "outside" })),
    ...list("inside").map((path) => ({ path, way: "inside" })),
    ...list("bound").map((text) => {
      const [exit = "", ...path] = text.split(" ");
      return { path: path.join(" "), way: `exit ${exit}` };
    }),
  ];
}

/** The three options that say the same; a later wish for a program replaces an earlier one. */
export function fieldsOf(programs: readonly Program[]): Record<string, string[]> {
  const wishes = [...new Map(programs.map(({ path, way }) => [path, way]))];
  const of = (wanted: string) => wishes.filter(([, way]) => way === wanted).map(([path]) => path);
  return {
    outside_programs: of("outside"),
    inside_programs: of("inside"),
    bound_programs: wishes
      .filter(([, way]) => way.startsWith("exit "))
      .map(([path, way]) => `${way.slice("exit ".length)} ${path}`),
  };
}

interface ProgramsProps {
  settings: SettingsByKey;
  reload: () => void;
}

/** Programs that are let out, taken in or bound to an exit whenever they start. */
export function Programs({ settings, reload }: ProgramsProps) {
  const t = useT();
  const isBusy = useBusy();
  const [path, setPath] = useState("");
  const [way, setWay] = useState("outside");
  const programs = programsOf(settings);
  const isLocked = settings.get("device.outside_programs")?.is_locked ?? true;
  const isOff = isBusy || isLocked;
  const save = async (wanted: readonly Program[]) => {
    await run(() => device({ action: "change", fields: fieldsOf(wanted) }));
    reload();
  };
  return (
    <div className="py-4">
      <h3 className="text-base font-medium">{t("apps.programs")}</h3>
      <p className="mt-0.5 max-w-[64ch] text-sm">{t("apps.programs.what")}</p>
      {programs.length > 0 && (
        <ul className="mt-2 divide-y divide-line text-sm">
          {programs.map((program) => (
            <li key={program.path} className="flex flex-wrap items-center gap-2 py-2">
              <code className="min-w-48 flex-1 font-mono text-xs break-all text-ink">{program.path}</code>
              <WayOut
                label={t("apps.way", { path: program.path })}
                value={program.way}
                disabled={isOff}
                onChange={(next) => void save([...programs, { path: program.path, way: next }])}
              />
              <Button
                disabled={isOff}
                onClick={() => void save(programs.filter(({ path: other }) => other !== program.path))}
              >
                {t("apps.programs.remove")}
                <span className="sr-only"> {program.path}</span>
              </Button>
            </li>
          ))}
        </ul>
      )}
      <form
        className="mt-2 flex flex-wrap gap-2"
        onSubmit={(event) => {
          event.preventDefault();
          void save([...programs, { path: path.trim(), way }]).then(() => setPath(""));
        }}
      >
        <TextField
          aria-label={t("apps.programs.path")}
          value={path}
          disabled={isOff}
          placeholder="/usr/bin/firefox-esr"
          onChange={(event) => setPath(event.target.value)}
          className="min-w-48 flex-1 font-mono"
        />
        <WayOut label={t("apps.way.new")} value={way} disabled={isOff} onChange={setWay} />
        <Button type="submit" disabled={isOff || !path.trim()}>
          {t("apps.programs.add")}
        </Button>
      </form>
    </div>
  );
}

interface WayOutProps {
  label: string;
  value: string;
  disabled: boolean;
  onChange: (way: string) => void;
}

function WayOut({ label, value, disabled, onChange }: WayOutProps) {
  const t = useT();
  const lang = useLang();
  const exits = useExits();
  const ways = new Set(["outside", "inside", value]);
  for (const { country } of exits?.countries ?? []) if (country) ways.add(`exit ${country}`);
  const name = (way: string) =>
    way === "outside"
      ? t("apps.way.outside")
      : way === "inside"
        ? t("apps.way.inside")
        : t("apps.way.exit", { where: countryName(way.slice("exit ".length), lang).slice(0, 24) });
  return (
    <Select
      aria-label={label}
      value={value}
      disabled={disabled}
      onChange={(event) => onChange(event.target.value)}
    >
      {[...ways].map((way) => (
        <option key={way} value={way}>
          {name(way)}
        </option>
      ))}
    </Select>
  );
}
