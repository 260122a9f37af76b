import type { Diagnosis, Finding as Found } from "@vigilnet/ui/api-types";
import { Button, Card, ViewHead } from "@vigilnet/ui/controls";
import { useLang, useSaid, useT, type Key } from "@vigilnet/ui/i18n";
import { cx } from "@vigilnet/ui/lib";
import {
  ChevronRight,
  CircleCheck,
  ClipboardCopy,
  Info,
  RefreshCw,
  TriangleAlert,
  Wrench,
} from "@vigilnet/ui/icons";
import { useEffect, useState } from "react";
import { report, run, useBusy } from "../data/actions";
import { read } from "../data/client";
import { Logs } from "./logs";

const groups: Readonly<Record<string, Key>> = {
  device: "group.device",
  network: "group.network",
  node: "group.node",
  exits: "group.exits",
  relays: "group.relays",
  paths: "group.paths",
  settings: "group.settings",
};

export function Doctor({ part }: { part: string }) {
  const t = useT();
  const isLogs = part === "logs";
  const tabs = [
    ["#/doctor", t("doctor.checks"), !isLogs],
    ["#/doctor/logs", t("doctor.logs"), isLogs],
  ] as const;
  return (
    <>
      <ViewHead title={t("nav.doctor")} question={t("q.doctor")}>
        <nav aria-label={t("doctor.parts")} className="inline-flex gap-0.5 rounded-md bg-sunken p-0.5">
          {tabs.map(([href, name, isHere]) => (
            <a
              key={href}
              href={href}
              aria-current={isHere ? "page" : undefined}
              className={cx(
                "flex min-h-7 items-center rounded-sm px-2.5 text-sm font-medium",
                isHere ? "bg-surface text-ink shadow-[0_0_0_1px_var(--line)]" : "text-ink-2 hover:text-ink",
              )}
            >
              {name}
            </a>
          ))}
        </nav>
      </ViewHead>
      {isLogs ? <Logs /> : <Checks />}
    </>
  );
}

/** The report names no address, no site and no key: what was measured stays out of it. */
export function reportOf({ verdict, findings }: Diagnosis): string {
  const lines = findings.map(({ level, id, title, next }) =>
    [`${level}: ${title} [${id}]`, ...(level !== "pass" && next ? [`  next: ${next}`] : [])].join("\n"),
  );
  return [verdict, "", ...lines].join("\n");
}

function Checks() {
  const t = useT();
  const lang = useLang();
  const said = useSaid();
  const isBusy = useBusy();
  const [diagnosis, setDiagnosis] = useState<Diagnosis | null>(null);
  const [isLooking, setIsLooking] = useState(false);
  const look = async (repair: boolean): Promise<void> => {
    setIsLooking(true);
    const answer = await run(
      () => read("doctor", repair ? { repair: "true" } : {}),
      ({ repaired }) => repaired.join(" "),
    );
    if (answer) setDiagnosis(answer);
    setIsLooking(false);
  };
  useEffect(() => {
    void look(false);
  }, []);
  const open = diagnosis?.findings.filter(({ level }) => level !== "pass") ?? [];
  const worst = open.find(({ level }) => level === "fail");
  const passed = diagnosis?.findings.filter(({ level }) => level === "pass") ?? [];
  const canRepair = open.some(({ repair }) => repair !== "");
  const copy = async (): Promise<void> => {
    if (!diagnosis) return;
    await navigator.clipboard.writeText(reportOf(diagnosis));
    report(t("doctor.copied"));
  };
  return (
    <>
      <div className="mb-4 flex flex-wrap items-center gap-x-4 gap-y-3">
        <p role="status" className="min-w-0 flex-1 basis-80 text-base text-ink-2">
          {diagnosis && !isLooking ? (
            <>
              <strong data-verdict className="font-semibold">
                {lang === "en" ? diagnosis.verdict : said(worst?.title ?? diagnosis.verdict)}
              </strong>{" "}
              {diagnosis.findings.length > 0 &&
                t("doctor.counts", {
                  problems: diagnosis.problems,
                  notes: diagnosis.notes,
                  passed: diagnosis.passed,
                })}
            </>
          ) : (
            t("doctor.looking")
          )}
        </p>
        <div className="flex flex-wrap gap-2">
          <Button icon={ClipboardCopy} disabled={!diagnosis} onClick={() => void copy()}>
            {t("doctor.copy")}
          </Button>
          {canRepair && (
            <Button icon={Wrench} disabled={isBusy || isLooking} onClick={() => void look(true)}>
              {t("doctor.repair")}
            </Button>
          )}
          <Button icon={RefreshCw} disabled={isBusy || isLooking} onClick={() => void look(false)}>
            {t("doctor.again")}
          </Button>
        </div>
      </div>
      <div className="grid gap-3">
        {open.map((finding) => (
          <Finding key={finding.id} finding={finding} />
        ))}
      </div>
      {passed.length > 0 && <Passed findings={passed} />}
    </>
  );
}

function Passed({ findings }: { findings: readonly Found[] }) {
  const t = useT();
  const said = useSaid();
  const names = [...new Set(findings.map(({ group }) => group))];
  return (
    <>
      <h2 className="mt-8 mb-3 text-base font-semibold">{t("doctor.passed")}</h2>
      <Card flush>
        <div className="grid gap-x-8 px-5 py-2 md:grid-cols-2 xl:grid-cols-3">
          {names.map((group) => {
            const name = groups[group];
            return (
              <section key={group} className="py-3">
                <h3 className="pb-1.5 text-xs font-medium text-ink-3">{name ? t(name) : group}</h3>
                <ul className="space-y-1 text-sm">
                  {findings
                    .filter((finding) => finding.group === group)
                    .map(({ id, title }) => (
                      <li key={id} className="flex gap-2">
                        <CircleCheck size={15} aria-hidden className="mt-[3px] shrink-0 text-ok" />
                        {said(title)}
                      </li>
                    ))}
                </ul>
              </section>
            );
          })}
        </div>
      </Card>
    </>
  );
}

function Finding({ finding }: { finding: Found }) {
  const t = useT();
  const said = useSaid();
  const isBad = finding.level === "fail";
  const Icon = isBad ? TriangleAlert : Info;
  return (
    <section className="rounded-lg border border-line bg-surface shadow-card">
      <div className="flex items-start gap-4 p-5">
        <span
          className={cx(
            "tone-tile grid size-8 shrink-0 place-items-center rounded-md",
            isBad ? "bg-warn-soft text-warn-ink" : "bg-accent-soft text-accent-ink",
          )}
        >
          <Icon size={16} aria-hidden />
        </span>
        <div className="min-w-0 flex-1">
          <h2 className="text-base font-semibold">
            <span className="sr-only">{t(isBad ? "doctor.problem" : "doctor.note")}: </span>
            {said(finding.title)}
          </h2>
          {finding.meaning && <p className="mt-0.5 max-w-[72ch] text-sm">{said(finding.meaning)}</p>}
          {finding.next && (
            <p className="mt-1.5 max-w-[72ch] text-sm text-ink">
              <span className="font-semibold">{t("next")} </span>
              {said(finding.next)}
            </p>
          )}
          {finding.repair && (
            <p className="mt-1 max-w-[72ch] text-sm text-ink-2">
              <span className="font-semibold">{t("doctor.would")} </span>
              {said(finding.repair)}
            </p>
          )}
          {finding.evidence.length > 0 && (
            <details className="group mt-2 text-sm">
              <summary className="inline-flex list-none items-center gap-1 rounded-sm text-ink-3 hover:text-ink">
                <ChevronRight size={14} aria-hidden className="transition-transform group-open:rotate-90" />
                {t("doctor.evidence")}
              </summary>
              <ul className="mt-1.5 space-y-0.5 pl-[18px] font-mono text-xs leading-5 break-words text-ink-2">
                {finding.evidence.map((line) => (
                  <li key={line}>{line}</li>
                ))}
              </ul>
            </details>
          )}
        </div>
      </div>
    </section>
  );
}
