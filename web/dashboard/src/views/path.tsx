import type { Path } from "@vigilnet/ui/api-types";
import { CircuitCards } from "@vigilnet/ui/circuit";
import { Button, Card, Dialog, ViewHead } from "@vigilnet/ui/controls";
import { duration, milliseconds } from "@vigilnet/ui/format";
import { useLang, useT, type Translate } from "@vigilnet/ui/i18n";
import { cx } from "@vigilnet/ui/lib";
import { WhoSees } from "@vigilnet/ui/who-sees";
import { RefreshCw, UserRoundPlus } from "@vigilnet/ui/icons";
import { lazy, Suspense, useState } from "react";
import { press, run, useBusy } from "../data/actions";
import { change } from "../data/client";
import { useLive } from "../data/live";
import { inUseFirst, nameOf } from "../data/order";
import { WhereToLeave } from "./where-to-leave";

const WorldMap = lazy(() => import("../map/world-map"));

export function PathView() {
  const t = useT();
  const lang = useLang();
  const paths = useLive((live) => live.paths)
    .slice()
    .sort(inUseFirst);
  const protection = useLive((live) => live.status?.protection ?? null);
  const isBusy = useBusy();
  const [picked, pick] = useState<number | null>(null);
  const [asks, setAsks] = useState(false);
  const path = paths.find(({ id }) => id === picked) ?? paths[0];
  return (
    <>
      <ViewHead title={t("nav.path")} question={t("q.path")}>
        {protection && (
          <Button icon={UserRoundPlus} disabled={isBusy} onClick={() => setAsks(true)}>
            {t("identity.new")}
          </Button>
        )}
        {path && (
          <Button
            icon={RefreshCw}
            disabled={isBusy}
            data-new-path
            onClick={() => press("new-path", protection, path.id)}
          >
            {t("path.new")}
          </Button>
        )}
        {path && !path.is_ready && !path.is_retired && (
          <Button
            aria-pressed={path.is_kept}
            disabled={isBusy}
            onClick={() =>
              void run(
                () => change("keep-path", { circuit: path.id, is_kept: !path.is_kept }),
                () => t(path.is_kept ? "path.let.done" : "path.keep.done"),
              )
            }
          >
            {t(path.is_kept ? "path.let" : "path.keep")}
          </Button>
        )}
      </ViewHead>
      {path ? (
        <Card flush className="mb-4 overflow-hidden">
          <div className="grid lg:grid-cols-[264px_1fr]">
            <fieldset className="min-w-0 border-line p-2 max-lg:border-b lg:border-r">
              <legend className="float-left w-full px-3 pt-2 pb-1.5 text-xs font-medium text-ink-3">
                {t("path.list")}
              </legend>
              <div className="clear-both grid max-h-[420px] gap-0.5 overflow-y-auto md:max-lg:grid-cols-2">
                {paths.map((each) => (
                  <Choice
                    key={each.id}
                    path={each}
                    name={nameOf(each, t)}
                    isPicked={each.id === path.id}
                    onPick={() => pick(each.id)}
                  />
                ))}
              </div>
              <p className="px-3 pt-3 pb-2 text-xs leading-[18px] text-ink-3">{t("path.list.note")}</p>
            </fieldset>
            <Suspense fallback={<div className="h-[340px]" />}>
              <WorldMap path={path} />
            </Suspense>
          </div>
          <div className="border-t border-line" data-path={path.id}>
            <CircuitCards path={path} />
          </div>
        </Card>
      ) : (
        <Card className="mb-4">
          <p className="text-base">{t("path.none")}</p>
          {protection?.api === "offline" && (
            <Button
              className="mt-3"
              look="primary"
              disabled={isBusy}
              onClick={() => press("connect", protection, undefined)}
            >
              {t("connect")}
            </Button>
          )}
        </Card>
      )}
      <div className="grid gap-4 lg:grid-cols-[1fr_380px]">
        {path && (
          <>
            <Card title={t("path.who")} hint={t("path.who.hint")}>
              <WhoSees rows={path.who_sees} />
            </Card>
            <Card title={t("path.why")}>
              <ul className="space-y-3 text-sm">
                {whyOf(path, t).map((sentence) => (
                  <li key={sentence}>{sentence}</li>
                ))}
                <li className="num text-ink-3">
                  {path.ms !== null && t("path.round", { time: milliseconds(path.ms, lang) })}{" "}
                  {t("path.age", { time: duration(path.age_s, lang) })}
                </li>
              </ul>
            </Card>
          </>
        )}
        <WhereToLeave />
      </div>
      <Dialog
        isOpen={asks}
        onClose={() => setAsks(false)}
        title={t("identity.title")}
        closeLabel={t("close")}
      >
        <p className="text-base">{t("identity.what")}</p>
        <div className="mt-5 flex flex-wrap justify-end gap-2">
          <Button data-first onClick={() => setAsks(false)}>
            {t("cancel")}
          </Button>
          <Button
            look="primary"
            onClick={() => {
              setAsks(false);
              void run(
                () => change("new-identity", {}),
                ({ retired }) => t("identity.done", { count: retired }),
              );
            }}
          >
            {t("identity.new")}
          </Button>
        </div>
      </Dialog>
    </>
  );
}

/** The same reasons as the node's, in the reader's language. */
function whyOf(path: Path, t: Translate): readonly string[] {
  return [
    ...(path.hops.length > 1 ? [t("why.entry")] : [t("why.one")]),
    ...(path.hops.length > 2 ? [t("why.others")] : []),
    ...(path.is_kept ? [t("why.kept")] : []),
    ...(path.is_ready ? [t("why.ready")] : path.label ? [t("why.label")] : []),
  ];
}

interface ChoiceProps {
  path: Path;
  name: string;
  isPicked: boolean;
  onPick: () => void;
}

function Choice({ path, name, isPicked, onPick }: ChoiceProps) {
  const t = useT();
  const lang = useLang();
  const chain = path.hops.map((hop) => hop.country || hop.name.slice(0, 4)).join(" › ");
  const small = isPicked ? "text-accent-ink" : "text-ink-3";
  return (
    <label
      className={cx(
        "block min-w-0 rounded-md px-3 py-2 has-focus-visible:outline-2 has-focus-visible:-outline-offset-2 has-focus-visible:outline-accent-ink",
        isPicked ? "bg-accent-soft" : "hover:bg-sunken",
      )}
    >
      <input type="radio" name="circuit" className="sr-only" checked={isPicked} onChange={onPick} />
      <span className="flex items-baseline gap-2">
        <span className={cx("truncate text-sm font-medium", isPicked ? "text-accent-ink" : "text-ink")}>
          {name}
        </span>
        <span className={cx("num ml-auto shrink-0 text-xs", small)}>
          {path.ms === null ? "" : milliseconds(path.ms, lang)}
        </span>
      </span>
      <span className={cx("flex gap-2 text-xs", small)}>
        <span className="truncate">
          {path.streams > 0 ? t("path.connections", { count: path.streams }) : chain}
        </span>
        <span className="num ml-auto shrink-0">{duration(path.age_s, lang)}</span>
      </span>
    </label>
  );
}
