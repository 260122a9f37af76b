import type { Setting } from "@vigilnet/ui/api-types";
import { Card } from "@vigilnet/ui/controls";
import { useSaid, useT } from "@vigilnet/ui/i18n";
import { ChevronRight } from "@vigilnet/ui/icons";
import type { SettingsByKey } from "../data/settings";
import { OptionControl } from "./option-control";
import { Row } from "./settings-row";

export interface Table {
  name: string;
  meaning: string;
  options: Setting[];
}

/** The options that match a text, by the tables of the settings file. */
export function tablesOf(
  settings: Iterable<Setting>,
  text: string,
  said: (text: string) => string = (same) => same,
): Table[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const tables = new Map<string, Table>();
  for (const setting of settings) {
    const name = setting.key.slice(0, setting.key.lastIndexOf("."));
    const all = `${setting.key} ${said(setting.meaning)} ${said(setting.table)}`.toLowerCase();
    if (!words.every((word) => all.includes(word))) continue;
    const table = tables.get(name) ?? { name, meaning: setting.table, options: [] };
    table.options.push(setting);
    tables.set(name, table);
  }
  return [...tables.values()];
}

interface AllOptionsProps {
  settings: SettingsByKey;
  reload: () => void;
  text: string;
}

/** Every option there is, also those that have a place of their own above. */
export function AllOptions({ settings, reload, text }: AllOptionsProps) {
  const t = useT();
  const said = useSaid();
  const tables = tablesOf(settings.values(), text, said);
  const isSearching = text.trim() !== "";
  return (
    <div id="all" className="scroll-mt-6">
      <Card title={t("section.all")} hint={t("all.hint", { count: settings.size })} flush>
        {tables.length === 0 && <p className="px-5 pb-5 text-base">{t("all.none")}</p>}
        <div className="divide-y divide-line border-t border-line">
          {tables.map((table) => (
            <details key={`${table.name}${isSearching}`} open={isSearching} className="group/table">
              <summary className="flex list-none items-start gap-3 px-5 py-3 hover:bg-bg">
                <ChevronRight
                  size={16}
                  aria-hidden
                  className="mt-1 shrink-0 text-ink-3 transition-transform group-open/table:rotate-90"
                />
                <span className="min-w-0 flex-1">
                  <span className="font-mono text-sm font-medium text-ink">[{table.name}]</span>
                  <span className="block text-sm text-ink-3">{said(table.meaning)}</span>
                </span>
                <span className="num shrink-0 text-xs text-ink-3">{table.options.length}</span>
              </summary>
              <div className="divide-y divide-line px-5 pl-12 max-sm:pl-5">
                {table.options.map((setting) => (
                  <Row
                    key={setting.key}
                    name={setting.key}
                    isMono
                    setting={setting}
                    reload={reload}
                    control={<OptionControl setting={setting} reload={reload} />}
                  >
                    {setting.meaning && (
                      <span className="block break-words first-letter:uppercase">
                        {said(setting.meaning)}
                      </span>
                    )}
                  </Row>
                ))}
              </div>
            </details>
          ))}
        </div>
      </Card>
    </div>
  );
}
