import { Select, Switch } from "@vigilnet/ui/controls";
import { countryName } from "@vigilnet/ui/format";
import { useLang, useT } from "@vigilnet/ui/i18n";
import { device, run, useBusy } from "../data/actions";
import { change } from "../data/client";
import { useLive } from "../data/live";
import { setDevice, type SettingsByKey } from "../data/settings";
import { OptionControl } from "./option-control";
import { Group, Row } from "./settings-row";
import { leaveIn, useExits } from "./where-to-leave";

interface SectionProps {
  settings: SettingsByKey;
  reload: () => void;
}

export function Protection({ settings, reload }: SectionProps) {
  const t = useT();
  const isBusy = useBusy();
  const protection = useLive((live) => live.status?.protection ?? null);
  const coverage = useLive((live) => live.status?.coverage);
  const how = (what: string): string => coverage?.find((line) => line.what === what)?.how ?? "";
  const isOn = protection !== null && protection.api !== "offline";
  const coversAll = ["all", "waits", "blocked"].includes(how("device"));
  const allowLan = settings.get("device.allow_lan");
  const atStart = settings.get("device.up");
  return (
    <Group id="protection" title={t("section.protection")}>
      <Row
        name={t("setting.on")}
        control={
          <Switch
            label={t("setting.on")}
            checked={isOn}
            disabled={isBusy}
            onChange={(on) => void run(() => change(on ? "connect" : "disconnect", {}))}
          />
        }
      >
        {t("setting.on.what")}
      </Row>
      <Row
        name={t("setting.device")}
        control={
          <Switch
            label={t("setting.device")}
            checked={isOn && coversAll}
            disabled={isBusy || !isOn}
            onChange={(on) => void run(() => device({ action: on ? "up" : "down" }))}
          />
        }
      >
        {t("setting.device.what")}
      </Row>
      <Row
        name={t("setting.lockdown")}
        control={
          <Switch
            label={t("setting.lockdown")}
            checked={how("lockdown") === "on"}
            disabled={isBusy}
            onChange={(on) => void run(() => device({ action: "lockdown", is_on: on }))}
          />
        }
      >
        {t("setting.lockdown.what")} <code className="font-mono text-xs">vigilnet lockdown off</code>
      </Row>
      {atStart && (
        <Row
          name={t("setting.start")}
          setting={atStart}
          reload={reload}
          control={<OptionControl setting={atStart} reload={reload} label={t("setting.start")} />}
        >
          {t("setting.start.what")}
        </Row>
      )}
      {allowLan && (
        <Row
          name={t("setting.lan")}
          setting={allowLan}
          reload={reload}
          control={
            <OptionControl
              setting={allowLan}
              reload={reload}
              label={t("setting.lan")}
              onSet={(value) => setDevice("allow_lan", value === "true", reload)}
            />
          }
        >
          {t("setting.lan.what")}
        </Row>
      )}
    </Group>
  );
}

const MOST_HOPS = 10;

export function PathAndExits() {
  const t = useT();
  const lang = useLang();
  const isBusy = useBusy();
  const hops = useLive((live) => live.status?.hops ?? 3);
  const choice = useLive((live) => live.status?.exit);
  const exits = useExits();
  const countries = new Set(exits?.countries.map(({ country }) => country).filter(Boolean));
  if (choice?.country) countries.add(choice.country);
  const sorted = [...countries]
    .slice()
    .sort((a, b) => countryName(a, lang).localeCompare(countryName(b, lang), lang));
  return (
    <Group id="path" title={t("section.path")}>
      <Row
        name={t("setting.hops")}
        control={
          <Select
            aria-label={t("setting.hops")}
            value={hops}
            disabled={isBusy}
            onChange={(event) => void run(() => change("set-hops", { hops: Number(event.target.value) }))}
          >
            {Array.from({ length: MOST_HOPS }, (_, index) => (
              <option key={index} value={index + 1}>
                {index + 1}
              </option>
            ))}
          </Select>
        }
      >
        {hops === 1 ? (
          <span className="font-medium text-warn-ink">{t("hops.one")}</span>
        ) : (
          t(hops === 2 ? "hops.two" : hops === 3 ? "hops.three" : "hops.more")
        )}
      </Row>
      <Row
        name={t("setting.leave")}
        control={
          <Select
            aria-label={t("setting.leave")}
            value={choice?.peer_id ? "*" : (choice?.country ?? "")}
            disabled={isBusy}
            onChange={(event) => void leaveIn(event.target.value)}
          >
            <option value="">{t("leave.anywhere")}</option>
            {choice?.peer_id && (
              <option value="*" disabled>
                {t("leave.exit", { name: choice.peer_id.slice(8, 16) })}
              </option>
            )}
            {sorted.map((code) => (
              <option key={code} value={code}>
                {countryName(code, lang)}
              </option>
            ))}
          </Select>
        }
      >
        {t("leave.note")}{" "}
        <a href="#/path" className="font-medium text-accent-ink hover:underline">
          {t("leave.more")}
        </a>
      </Row>
    </Group>
  );
}
