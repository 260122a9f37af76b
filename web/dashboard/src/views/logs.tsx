import type { LogLine } from "@vigilnet/ui/api-types";
import { Button, Card, SearchField, Segmented, Switch } from "@vigilnet/ui/controls";
import { clockTime } from "@vigilnet/ui/format";
import { useLang, useT } from "@vigilnet/ui/i18n";
import { cx } from "@vigilnet/ui/lib";
import { ClipboardCopy } from "@vigilnet/ui/icons";
import { useEffect, useRef, useState } from "react";
import { report } from "../data/actions";
import { useLive } from "../data/live";

const LEVELS = ["error", "warning", "info", "debug"] as const;
type Level = (typeof LEVELS)[number];

const looks: Readonly<Record<string, string>> = {
  error: "text-bad-ink",
  warning: "text-warn-ink",
  info: "text-ink-2",
  debug: "text-ink-3",
};

/** Lines of this level and graver ones that contain a text. */
export function linesShown(lines: readonly LogLine[], level: Level, text: string): LogLine[] {
  const wanted = text.trim().toLowerCase();
  const most = LEVELS.indexOf(level);
  return lines.filter(
    (line) =>
      (LEVELS as readonly string[]).indexOf(line.level) <= most &&
      `${line.source} ${line.text}`.toLowerCase().includes(wanted),
  );
}

export function Logs() {
  const t = useT();
  const lang = useLang();
  const lines = useLive((live) => live.log);
  const [level, setLevel] = useState<Level>("info");
  const [text, setText] = useState("");
  const [follows, setFollows] = useState(true);
  const box = useRef<HTMLDivElement>(null);
  const shown = linesShown(lines, level, text);
  useEffect(() => {
    if (follows && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [follows, shown.length]);
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(
      shown
        .map((line) => `${new Date(line.at * 1000).toISOString()} ${line.level} ${line.source} ${line.text}`)
        .join("\n"),
    );
    report(t("doctor.copied"));
  };
  return (
    <Card flush>
      <div className="flex flex-wrap items-center gap-3 border-b border-line px-5 py-3.5">
        <Segmented
          label={t("logs.level")}
          value={level}
          onChange={setLevel}
          options={LEVELS.map((each) => [each, t(`logs.${each}`)] as const)}
        />
        <SearchField label={t("logs.find")} value={text} onChange={setText} />
        <span className="ml-auto flex items-center gap-2 text-sm">
          <span aria-hidden>{t("logs.follow")}</span>
          <Switch label={t("logs.follow")} checked={follows} onChange={setFollows} />
        </span>
        <Button icon={ClipboardCopy} disabled={shown.length === 0} onClick={() => void copy()}>
          {t("logs.copy")}
        </Button>
      </div>
      <div
        ref={box}
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label={t("doctor.logs")}
        className="h-[min(560px,60dvh)] overflow-auto px-5 py-3 font-mono text-xs leading-5"
      >
        {shown.length === 0 ? (
          <p className="font-sans text-sm">{t("logs.none")}</p>
        ) : (
          <ol lang="en">
            {shown.map((line) => (
              <li key={line.number} className="flex gap-3">
                <time className="num shrink-0 text-ink-3">{clockTime(line.at, lang)}</time>
                <span className={cx("w-14 shrink-0", looks[line.level])}>{line.level}</span>
                <span className="min-w-0 break-words">
                  <span className="text-ink-3">{line.source.replace(/^vigilnet\./, "")} </span>
                  <span className="text-ink">{line.text}</span>
                </span>
              </li>
            ))}
          </ol>
        )}
      </div>
      <p className="border-t border-line px-5 py-3 text-xs text-ink-3">{t("logs.note")}</p>
    </Card>
  );
}
