import type { Peer } from "@vigilnet/ui/api-types";
import {
  Badge,
  Button,
  Card,
  CountryCode,
  Dialog,
  SearchField,
  Segmented,
  ViewHead,
} from "@vigilnet/ui/controls";
import { countryName, dateTime, duration, milliseconds, octets } from "@vigilnet/ui/format";
import { useLang, useT, type Key, type Translate } from "@vigilnet/ui/i18n";
import type { Lang, Tone } from "@vigilnet/ui/states";
import { ChevronRight, Plus } from "@vigilnet/ui/icons";
import { type ReactNode, useState } from "react";
import { run, useBusy } from "../data/actions";
import { change } from "../data/client";
import { useLive } from "../data/live";

type Shown = "all" | "direct" | "relayed" | "failed";

const links: Readonly<Record<string, readonly [Tone | "accent" | undefined, Key]>> = {
  direct: ["ok", "link.direct"],
  relayed: ["accent", "link.relayed"],
  failed: ["hold", "link.failed"],
  none: [undefined, "link.none"],
};

const whyKeys: Readonly<Record<string, Key>> = {
  dialled: "peer.why.dialled",
  "dialled-us": "peer.why.dialled-us",
  "dialled-back": "peer.why.dialled-back",
  punched: "peer.why.punched",
  "behind-router": "peer.why.behind-router",
  "on-path": "peer.why.on-path",
  "on-path-entry": "peer.why.on-path-entry",
  "no-answer": "peer.why.no-answer",
  "not-needed": "peer.why.not-needed",
};

/** The node's own sentence in English; in other languages the one of the same id. */
function whyOf(peer: Peer, t: Translate, lang: Lang): string {
  const key = whyKeys[peer.why_id];
  return lang === "en" || !key ? peer.why : t(key);
}

const rank: Readonly<Record<string, number>> = { direct: 0, relayed: 1, failed: 2, none: 3 };

export function peersShown(peers: readonly Peer[], shown: Shown, text: string, lang: string): Peer[] {
  const wanted = text.trim().toLowerCase();
  return peers
    .filter((peer) => shown === "all" || peer.link === shown)
    .filter((peer) =>
      [peer.name, peer.peer_id, peer.country, countryName(peer.country, lang)].some((field) =>
        field.toLowerCase().includes(wanted),
      ),
    )
    .slice()
    .sort((a, b) => (rank[a.link] ?? 4) - (rank[b.link] ?? 4) || a.peer_id.localeCompare(b.peer_id));
}

const MOST_ROWS = 1000;
const columns = "md:grid-cols-[16px_minmax(0,1.1fr)_minmax(0,1.6fr)_90px_90px]";

export function Peers() {
  const t = useT();
  const lang = useLang();
  const peers = useLive((live) => live.peers);
  const [shown, setShown] = useState<Shown>("all");
  const [text, setText] = useState("");
  const [adds, setAdds] = useState(false);
  const count = (link: string): number => peers.filter((peer) => peer.link === link).length;
  const rows = peersShown(peers, shown, text, lang);
  return (
    <>
      <ViewHead title={t("nav.peers")} question={t("q.peers")}>
        <Button icon={Plus} onClick={() => setAdds(true)}>
          {t("invite.add")}
        </Button>
      </ViewHead>
      <Figures peers={peers} />
      <Card flush>
        <div className="flex flex-wrap items-center gap-3 px-5 py-3.5">
          <Segmented
            label={t("peers.show")}
            value={shown}
            onChange={setShown}
            options={[
              ["all", `${t("peers.all")} ${peers.length}`],
              ["direct", `${t("link.direct")} ${count("direct")}`],
              ["relayed", `${t("link.relayed")} ${count("relayed")}`],
              ["failed", `${t("link.failed")} ${count("failed")}`],
            ]}
          />
          <div className="ml-auto max-sm:w-full">
            <SearchField label={t("peers.find")} value={text} onChange={setText} />
          </div>
        </div>
        {rows.length === 0 ? (
          <p className="border-t border-line px-5 py-6 text-base">
            {peers.length === 0 ? t("peers.none") : t("peers.nomatch")}
          </p>
        ) : (
          <>
            <div
              aria-hidden
              className={`${columns} gap-x-5 border-t border-line bg-bg px-5 py-2 text-xs font-medium text-ink-3 max-md:hidden md:grid`}
            >
              <span />
              <span>{t("peers.column.peer")}</span>
              <span>{t("peers.column.link")}</span>
              <span className="text-right">{t("peer.round")}</span>
              <span className="text-right">{t("peers.column.traffic")}</span>
            </div>
            <ul className="divide-y divide-line border-t border-line" aria-label={t("nav.peers")}>
              {rows.slice(0, MOST_ROWS).map((peer) => (
                <Row key={peer.peer_id} peer={peer} />
              ))}
            </ul>
          </>
        )}
      </Card>
      <AddInvite isOpen={adds} onClose={() => setAdds(false)} />
    </>
  );
}

function Figures({ peers }: { peers: readonly Peer[] }) {
  const t = useT();
  const lang = useLang();
  const linked = peers.filter((peer) => peer.is_linked);
  const exits = peers.filter((peer) => peer.roles.includes("exit")).length;
  const entries = peers.filter((peer) => peer.is_entry).length;
  const countries = new Set(peers.map((peer) => peer.country).filter(Boolean)).size;
  const total = (of: "in_octets" | "out_octets"): number => linked.reduce((sum, peer) => sum + peer[of], 0);
  const figures = [
    [t("figures.linked"), String(linked.length), t("figures.linked.note")],
    [
      t("figures.known"),
      String(peers.length),
      countries ? t("network.countries", { count: countries }) : t("figures.undeclared"),
    ],
    [t("figures.exits"), String(exits), t("figures.entries", { count: entries })],
    [
      t("figures.received"),
      octets(total("in_octets"), lang),
      t("figures.sent", { amount: octets(total("out_octets"), lang) }),
    ],
  ] as const;
  return (
    <dl className="mb-4 grid grid-cols-2 gap-4 lg:grid-cols-4">
      {figures.map(([name, value, note]) => (
        <div key={name} className="rounded-lg border border-line bg-surface px-5 py-4 shadow-card">
          <dt className="text-sm font-normal text-ink-3">{name}</dt>
          <dd className="num mt-0.5 text-xl font-semibold text-ink">{value}</dd>
          <dd className="text-xs text-ink-3">{note}</dd>
        </div>
      ))}
    </dl>
  );
}

function Row({ peer }: { peer: Peer }) {
  const t = useT();
  const lang = useLang();
  const [tone, linkKey] = links[peer.link] ?? [undefined, "link.none"];
  const roles = peer.roles.filter((role) => role === "exit" || role === "guard" || role === "directory");
  return (
    <li className="[contain-intrinsic-size:auto_84px] [content-visibility:auto]">
      <details className="group">
        <summary
          className={`${columns} grid list-none items-start gap-x-5 gap-y-2 px-5 py-3 hover:bg-bg max-md:grid-cols-[1fr_auto]`}
        >
          <ChevronRight
            size={16}
            aria-hidden
            className="mt-1 text-ink-3 transition-transform group-open:rotate-90 max-md:hidden"
          />
          <span className="min-w-0">
            <span className="flex items-center gap-2">
              <CountryCode code={peer.country} />
              <span className="truncate font-medium text-ink">{peer.name}</span>
              {peer.is_entry && <Badge tone="accent">{t("peer.entry")}</Badge>}
            </span>
            <span className="mt-0.5 block truncate text-xs text-ink-3">
              {[countryName(peer.country, lang), ...roles.map((role) => t(`peer.role.${role}` as Key))]
                .filter(Boolean)
                .join(", ")}
            </span>
          </span>
          <span className="min-w-0 max-md:order-3 max-md:col-span-2">
            <span className="flex items-center gap-2">
              <Badge tone={tone}>{t(linkKey)}</Badge>
              <span className="text-xs text-ink-3">{peer.transport}</span>
            </span>
            <span className="mt-1 block text-sm text-ink-2">{whyOf(peer, t, lang)}</span>
          </span>
          <span className="num text-right text-sm text-ink max-md:order-2">
            {peer.ms === null ? (
              <span aria-hidden className="text-ink-3">
                –
              </span>
            ) : (
              <>
                <span className="sr-only">{t("peer.round")} </span>
                {milliseconds(peer.ms, lang)}
              </>
            )}
          </span>
          <span className="num text-right text-sm text-ink-2 max-md:hidden">
            {peer.is_linked ? (
              octets(peer.in_octets + peer.out_octets, lang)
            ) : (
              <span aria-hidden className="text-ink-3">
                –
              </span>
            )}
          </span>
        </summary>
        <Details peer={peer} />
      </details>
    </li>
  );
}

function Details({ peer }: { peer: Peer }) {
  const t = useT();
  const lang = useLang();
  const rows: (readonly [string, ReactNode])[] = [
    [t("peer.id"), <code className="font-mono text-xs break-all">{peer.peer_id}</code>],
    [
      t("peer.addresses"),
      <code className="font-mono text-xs break-all">{peer.addresses.join(", ") || "–"}</code>,
    ],
    [t("peer.found"), peer.found_by.join(", ") || "–"],
    [t("peer.until"), peer.until ? dateTime(peer.until, lang) : "–"],
    [t("peer.software"), peer.software || "–"],
  ];
  if (peer.linked_s !== null) {
    rows.push([
      t("peer.linked"),
      t("peer.linked.since", {
        time: duration(peer.linked_s, lang),
        in: octets(peer.in_octets, lang),
        out: octets(peer.out_octets, lang),
      }),
    ]);
  }
  if (peer.bandwidth_kbps !== null)
    rows.push([t("peer.bandwidth"), `${Math.round(peer.bandwidth_kbps / 1000)} Mbit/s`]);
  if (peer.ports) rows.push([t("peer.ports"), <span className="break-words">{peer.ports}</span>]);
  return (
    <dl className="grid grid-cols-[auto_1fr] gap-x-6 gap-y-1 bg-bg px-5 py-4 text-sm md:pl-14">
      {rows.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="font-normal text-ink-3">{name}</dt>
          <dd className="min-w-0 text-ink-2">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function AddInvite({ isOpen, onClose }: { isOpen: boolean; onClose: () => void }) {
  const t = useT();
  const isBusy = useBusy();
  const [uri, setUri] = useState("");
  const add = async () => {
    const answer = await run(
      () => change("add-invite", { uri: uri.trim() }),
      ({ is_new }) => t(is_new ? "invite.new" : "invite.known"),
    );
    onClose();
    if (answer) setUri("");
  };
  return (
    <Dialog isOpen={isOpen} onClose={onClose} title={t("invite.title")} closeLabel={t("close")}>
      <p className="text-base">{t("invite.what")}</p>
      <label className="mt-4 block text-sm font-medium text-ink">
        {t("invite.text")}
        <textarea
          value={uri}
          onChange={(event) => setUri(event.target.value)}
          rows={4}
          spellCheck={false}
          placeholder="vigilnet:"
          className="mt-1 w-full rounded-md border border-control bg-surface px-3 py-2 font-mono text-xs text-ink placeholder:text-ink-3"
        />
      </label>
      <div className="mt-4 flex justify-end gap-2">
        <Button onClick={onClose}>{t("cancel")}</Button>
        <Button
          look="primary"
          disabled={isBusy || !uri.trim().startsWith("vigilnet:")}
          onClick={() => void add()}
        >
          {t("invite.add")}
        </Button>
      </div>
    </Dialog>
  );
}
