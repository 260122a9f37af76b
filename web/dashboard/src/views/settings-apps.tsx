import type { Setting } from "@vigilnet/ui/api-types";
import { Segmented } from "@vigilnet/ui/controls";
import { useT, type Key } from "@vigilnet/ui/i18n";
import { useBusy } from "../data/actions";
import { useLive } from "../data/live";
import { setDevice, splitList, type SettingsByKey } from "../data/settings";
import { OptionControl } from "./option-control";
import { Programs } from "./settings-programs";
import { Group, Row } from "./settings-row";

interface SectionProps {
  settings: SettingsByKey;
  reload: () => void;
}

type NamesAt = "local" | "overlay" | "custom";
type Scope = "all" | "included";

/** Who goes through VigilNet, who goes around it, and who is asked for names. */
export function AppsAndNames({ settings, reload }: SectionProps) {
  const t = useT();
  const isBusy = useBusy();
  const status = useLive((live) => live.status);
  const dns = settings.get("device.dns");
  const scope = settings.get("device.scope");
  const lists: readonly (readonly [string, Key])[] =
    scope?.value === "included"
      ? [
          ["inside_users", "apps.inside.users"],
          ["inside_networks", "apps.inside.networks"],
        ]
      : [
          ["outside_domains", "apps.outside.domains"],
          ["outside_networks", "apps.outside.networks"],
          ["outside_users", "apps.outside.users"],
        ];
  return (
    <Group id="apps" title={t("section.apps")}>
      <Row
        name={t("apps.proxy")}
        control={
          <dl className="grid grid-cols-[auto_auto] gap-x-4 text-sm">
            {[
              ["SOCKS5", status?.socks],
              ["HTTP", status?.http_proxy],
            ].map(([kind, address]) => (
              <div key={kind} className="contents">
                <dt className="font-normal text-ink-3">{kind}</dt>
                <dd className="font-mono text-xs leading-5 text-ink">{address || t("apps.off")}</dd>
              </div>
            ))}
          </dl>
        }
      >
        {t("apps.proxy.what")}
      </Row>
      {dns && (
        <Row
          name={t("apps.names")}
          setting={dns}
          reload={reload}
          control={
            <Segmented<NamesAt>
              label={t("apps.names")}
              value={dns.value as NamesAt}
              disabled={isBusy || dns.is_locked}
              onChange={(value) => void setDevice("dns", value, reload)}
              options={[
                ["overlay", t("apps.names.exit")],
                ["local", t("apps.names.local")],
                ["custom", t("apps.names.custom")],
              ]}
            />
          }
        >
          {t("apps.names.what")}
        </Row>
      )}
      {dns?.value === "custom" && (
        <DeviceOption
          name="dns_server"
          title="apps.server"
          what="apps.server.what"
          settings={settings}
          reload={reload}
        />
      )}
      {scope && (
        <Row
          name={t("apps.scope")}
          setting={scope}
          reload={reload}
          control={
            <Segmented<Scope>
              label={t("apps.scope")}
              value={scope.value as Scope}
              disabled={isBusy || scope.is_locked}
              onChange={(value) => void setDevice("scope", value, reload)}
              options={[
                ["all", t("apps.scope.all")],
                ["included", t("apps.scope.included")],
              ]}
            />
          }
        >
          {t("apps.scope.what")}
        </Row>
      )}
      <Programs settings={settings} reload={reload} />
      {lists.map(([name, title]) => (
        <DeviceOption
          key={name}
          name={name}
          title={title}
          what={`${title}.what` as Key}
          settings={settings}
          reload={reload}
        />
      ))}
    </Group>
  );
}

interface DeviceOptionProps extends SectionProps {
  name: string;
  title: Key;
  what: Key;
}

function DeviceOption({ name, title, what, settings, reload }: DeviceOptionProps) {
  const t = useT();
  const setting: Setting | undefined = settings.get(`device.${name}`);
  if (!setting) return null;
  return (
    <Row
      name={t(title)}
      setting={setting}
      reload={reload}
      control={
        <OptionControl
          setting={setting}
          reload={reload}
          label={t(title)}
          onSet={(value) => setDevice(name, setting.kind === "list" ? splitList(value) : value, reload)}
        />
      }
    >
      {t(what)}
    </Row>
  );
}
