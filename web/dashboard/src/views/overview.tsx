import type { Path, Status } from "@vigilnet/ui/api-types";
import { Card, CountryCode, ViewHead } from "@vigilnet/ui/controls";
import { Coverage } from "@vigilnet/ui/coverage";
import { duration, milliseconds, octets } from "@vigilnet/ui/format";
import { useLang, useT } from "@vigilnet/ui/i18n";
import { cx } from "@vigilnet/ui/lib";
import { Progress } from "@vigilnet/ui/progress";
import type { Said } from "@vigilnet/ui/states";
import { Rates, Throughput } from "@vigilnet/ui/throughput";
import { ArrowRight } from "@vigilnet/ui/icons";
import { useLive } from "../data/live";
import { modeKey } from "../data/modes";
import { inUseFirst, nameOf } from "../data/order";
import { FirstCard } from "./first-card";
import { StateCard } from "./state-card";

const linkLook = "text-sm font-medium text-accent-ink hover:underline";

export function Overview({ said }: { said: Said | null }) {
  const t = useT();
  const status = useLive((live) => live.status);
  const traffic = useLive((live) => live.traffic);
  if (!status) return null;
  const steps = said?.id === "no-daemon" ? [] : (status.protection?.steps ?? []);
  const isOld = said?.id === "no-daemon";
  return (
    <>
      <ViewHead title={t("nav.overview")} question={t("q.overview")} />
      {said && <StateCard said={said} />}
      {!isOld && status.protection?.api === "connected" && <FirstCard />}
      <div
        className={cx("grid gap-4 md:grid-cols-2 lg:grid-cols-[1fr_340px]", isOld && "opacity-60")}
        {...(isOld ? { inert: true } : {})}
      >
        {steps.length > 0 ? (
          <Card
            title={t("steps.title")}
            className="md:max-lg:col-span-2"
            action={
              <a href="#/doctor" className={linkLook}>
                {t("steps.why")}
              </a>
            }
          >
            <Progress steps={steps} />
          </Card>
        ) : (
          <Card
            title={t("graph.title")}
            className="md:max-lg:col-span-2"
            action={<Rates samples={traffic} />}
          >
            <Throughput samples={traffic} />
          </Card>
        )}
        {status.coverage.length > 0 && status.protection && (
          <Card
            title={t("cover.title")}
            action={
              <a href="#/settings/protection" className={linkLook}>
                {t("change")}
              </a>
            }
          >
            <Coverage lines={status.coverage} />
          </Card>
        )}
        <Online />
        <Network status={status} />
      </div>
    </>
  );
}

/** Who is online through which path; a path belongs to one login or app, so it stands for them. */
function Online() {
  const t = useT();
  const lang = useLang();
  const paths = useLive((live) => live.paths);
  const streams = useLive((live) => live.streams);
  const inUse = paths
    .filter((path) => path.streams > 0 || path.label !== "")
    .slice()
    .sort(inUseFirst);
  const amount = (path: Path): number =>
    streams.reduce(
      (sum, { circuit, sent, received }) => (circuit === path.id ? sum + sent + received : sum),
      0,
    );
  return (
    <Card title={t("online.title")} flush className="md:max-lg:order-last md:max-lg:col-span-2">
      <div className="px-5 pb-3">
        {inUse.length === 0 ? (
          <p className="pt-2 pb-3 text-sm text-ink-3">{t("online.none")}</p>
        ) : (
          <table className="w-full text-sm">
            <caption className="sr-only">{t("online.caption")}</caption>
            <thead>
              <tr className="border-b border-line text-left text-xs">
                <th scope="col" className="py-2 font-medium text-ink-3">
                  {t("online.who")}
                </th>
                <th scope="col" className="py-2 font-medium text-ink-3">
                  {t("online.way")}
                </th>
                <th scope="col" className="py-2 text-right font-medium text-ink-3">
                  {t("online.connections")}
                </th>
                <th scope="col" className="py-2 text-right font-medium text-ink-3 max-sm:hidden">
                  {t("online.amount")}
                </th>
              </tr>
            </thead>
            <tbody className="divide-y divide-line">
              {inUse.slice(0, 8).map((path) => (
                <tr key={path.id}>
                  <th scope="row" className="max-w-48 truncate py-2 pr-3 text-left font-medium">
                    {nameOf(path, t)}
                  </th>
                  <td className="py-2 pr-3">
                    <span className="flex flex-wrap items-center gap-1 text-xs text-ink-3">
                      {path.hops.map((hop, index) => (
                        <span key={hop.peer_id} className="flex items-center gap-1">
                          {index > 0 && <span aria-hidden>›</span>}
                          {hop.country ? <CountryCode code={hop.country} /> : <span>{hop.name}</span>}
                          {hop.country && <span className="sr-only">{hop.country}</span>}
                        </span>
                      ))}
                      {path.ms !== null && <span className="num ml-1">{milliseconds(path.ms, lang)}</span>}
                    </span>
                  </td>
                  <td className="num py-2 text-right text-ink-2">{path.streams}</td>
                  <td className="num py-2 text-right text-ink-2 max-sm:hidden">
                    {octets(amount(path), lang)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </div>
    </Card>
  );
}

function Network({ status }: { status: Status }) {
  const t = useT();
  const lang = useLang();
  const peers = useLive((live) => live.peers);
  const countries = new Set(peers.map((peer) => peer.country).filter(Boolean)).size;
  const count = (link: string): number => peers.filter((peer) => peer.link === link).length;
  const known = t("network.known", { count: status.peers });
  const rows = [
    [
      t("network.links"),
      t("network.links.of", { direct: count("direct"), relayed: count("relayed") }),
      "peers",
    ],
    [
      t("network.relays"),
      countries ? `${known} ${t("network.countries", { count: countries })}` : known,
      "peers",
    ],
    [t("network.role"), t(modeKey(status.mode)), "settings/helping"],
    [t("network.total"), octets(status.traffic.in_octets + status.traffic.out_octets, lang), "peers"],
    [t("network.uptime"), duration(status.uptime_s, lang), "doctor/logs"],
    [
      t("network.checks"),
      status.problems === null ? t("network.unchecked") : t("network.problems", { count: status.problems }),
      "doctor",
    ],
  ] as const;
  return (
    <Card title={t("network.title")}>
      <ul className="divide-y divide-line text-sm">
        {rows.map(([name, value, to]) => (
          <li key={name} className="py-[7px] first:pt-0 last:pb-0">
            <a href={`#/${to}`} className="group flex items-center gap-3">
              <span className="text-ink">{name}</span>
              <span
                className={cx(
                  "num ml-auto text-right",
                  to === "doctor" && status.problems ? "font-medium text-warn-ink" : "text-ink-3",
                )}
              >
                {value}
              </span>
              <ArrowRight size={14} aria-hidden className="shrink-0 text-ink-3 group-hover:text-ink" />
            </a>
          </li>
        ))}
      </ul>
    </Card>
  );
}
