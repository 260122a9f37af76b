import { Button, SearchField, Segmented, Select, ViewHead } from "@vigilnet/ui/controls";
import { countryName } from "@vigilnet/ui/format";
import { LANGS, useLang, useT, type Key } from "@vigilnet/ui/i18n";
import { cx } from "@vigilnet/ui/lib";
import type { Lang } from "@vigilnet/ui/states";
import { RefreshCw } from "@vigilnet/ui/icons";
import { useEffect, useState } from "react";
import { run, useBusy } from "../data/actions";
import { change } from "../data/client";
import { useLive } from "../data/live";
import { useSettings } from "../data/settings";
import { recall, remember, setTheme, themeNow, type Theme } from "../settings-of-page";
import { AppsAndNames } from "./settings-apps";
import { AllOptions } from "./settings-all";
import { HelpingOthers } from "./settings-mode";
import { PathAndExits, Protection } from "./settings-main";
import { Group, Row } from "./settings-row";
import { countriesDrawn } from "../map/countries";

const sections = ["protection", "path", "apps", "helping", "appearance", "all"] as const;

export default function Settings({ setLang }: { setLang: (lang: Lang) => void }) {
  const t = useT();
  const [settings, reload] = useSettings();
  const [text, setText] = useState("");
  const here = location.hash.split("/")[2] ?? "";
  useEffect(() => {
    if (settings && here) document.getElementById(here)?.scrollIntoView();
  }, [settings !== null, here]);
  const isSearching = text.trim() !== "";
  return (
    <>
      <ViewHead title={t("nav.settings")} question={t("q.settings")}>
        <SearchField label={t("settings.find")} value={text} onChange={setText} />
      </ViewHead>
      <RestartNeeded />
      <div className="grid gap-6 lg:grid-cols-[168px_minmax(0,1fr)]">
        <nav aria-label={t("settings.sections")} className="max-lg:-mx-5 max-lg:overflow-x-auto max-lg:px-5">
          <ul className="top-7 flex gap-0.5 text-sm lg:sticky lg:flex-col">
            {sections.map((id) => (
              <li key={id}>
                <a
                  href={`#/settings/${id}`}
                  onClick={() => {
                    setText("");
                    requestAnimationFrame(() =>
                      document.getElementById(id)?.scrollIntoView({ behavior: "smooth" }),
                    );
                  }}
                  aria-current={here === id ? "true" : undefined}
                  className={cx(
                    "block rounded-md px-2.5 py-1 whitespace-nowrap hover:bg-sunken hover:text-ink",
                    here === id ? "font-medium text-ink" : "text-ink-2",
                  )}
                >
                  {t(`section.${id}` as Key)}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <div className="grid min-w-0 gap-4">
          {!isSearching && settings && (
            <>
              <Protection settings={settings} reload={reload} />
              <PathAndExits />
              <AppsAndNames settings={settings} reload={reload} />
              <HelpingOthers />
              <Appearance setLang={setLang} />
            </>
          )}
          {settings ? (
            <AllOptions settings={settings} reload={reload} text={text} />
          ) : (
            <p className="text-base text-ink-3">{t("waiting")}</p>
          )}
        </div>
      </div>
    </>
  );
}

function RestartNeeded() {
  const t = useT();
  const isBusy = useBusy();
  const waiting = useLive((live) => live.status?.restart_needed.length ?? 0);
  if (waiting === 0) return null;
  return (
    <div
      role="status"
      className="mb-4 flex flex-wrap items-center gap-x-4 gap-y-2 rounded-lg bg-accent-soft px-5 py-3 text-sm text-accent-ink"
    >
      <p className="min-w-0 flex-1 basis-60">{t("restart.needed", { count: waiting })}</p>
      <Button icon={RefreshCw} disabled={isBusy} onClick={() => void run(() => change("restart", {}))}>
        {t("restart.now")}
      </Button>
    </div>
  );
}

function Appearance({ setLang }: { setLang: (lang: Lang) => void }) {
  const t = useT();
  const lang = useLang();
  const [theme, setShown] = useState<Theme>(themeNow());
  const [home, setHome] = useState(recall("home"));
  const countries = countriesDrawn
    .slice()
    .sort((a, b) => countryName(a, lang).localeCompare(countryName(b, lang), lang));
  return (
    <Group id="appearance" title={t("section.appearance")}>
      <Row
        name={t("theme")}
        control={
          <Segmented
            label={t("theme")}
            value={theme}
            onChange={(choice) => {
              setShown(choice);
              setTheme(choice);
            }}
            options={[
              ["light", t("theme.light")],
              ["dark", t("theme.dark")],
              ["system", t("theme.system")],
            ]}
          />
        }
      >
        {t("theme.what")}
      </Row>
      <Row
        name={t("language")}
        control={
          <Select
            aria-label={t("language")}
            value={lang}
            onChange={(event) => setLang(event.target.value as Lang)}
          >
            {LANGS.map(([id, name]) => (
              <option key={id} value={id} lang={id}>
                {name}
              </option>
            ))}
          </Select>
        }
      >
        {t("language.what")}
      </Row>
      <Row
        name={t("home")}
        control={
          <Select
            aria-label={t("home")}
            value={home}
            onChange={(event) => {
              setHome(event.target.value);
              remember("home", event.target.value);
            }}
          >
            <option value="">{t("home.zone")}</option>
            {countries.map((code) => (
              <option key={code} value={code}>
                {countryName(code, lang)}
              </option>
            ))}
          </Select>
        }
      >
        {t("home.what")}
      </Row>
    </Group>
  );
}
