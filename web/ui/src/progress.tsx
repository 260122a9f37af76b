// What is done while it connects, step by step and with times, so that nobody watches a spinner and wonders.
import { Check, LoaderCircle } from "./icons";
import type { Step } from "./api-types";
import { useLang, useT, type Key } from "./i18n";
import { cx } from "./lib";
import { duration, milliseconds } from "./format";

const names: Readonly<Record<string, Key>> = {
  start: "step.start",
  relays: "step.relays",
  entry: "step.entry",
  hop: "step.hop",
  path: "step.path",
};

export function Progress({ steps }: { steps: readonly Step[] }) {
  const t = useT();
  const lang = useLang();
  const current = steps.findIndex((step) => !step.is_done);
  return (
    <ol className="space-y-3">
      {steps.map((step, index) => {
        const name = names[step.id];
        const isNow = index === current;
        return (
          <li
            key={`${step.id}${index}`}
            aria-current={isNow ? "step" : undefined}
            className="flex items-start gap-3 text-sm"
          >
            <span
              aria-hidden
              className={cx(
                "mt-px grid size-5 shrink-0 place-items-center rounded-full",
                step.is_done
                  ? "bg-ok-soft text-ok-ink"
                  : isNow
                    ? "bg-warn-soft text-warn-ink"
                    : "border border-dashed border-control",
              )}
            >
              {step.is_done ? (
                <Check size={12} strokeWidth={3} />
              ) : isNow ? (
                <LoaderCircle size={13} className="spin" />
              ) : null}
            </span>
            <span className={step.is_done || isNow ? "font-medium text-ink" : "text-ink-3"}>
              {lang === "en" || !name ? step.text : t(name)}
              {step.after_ms !== null && (
                <span className="num block text-xs font-normal text-ink-3">
                  {t("step.after", {
                    time:
                      step.after_ms < 1000
                        ? milliseconds(step.after_ms, lang)
                        : duration(step.after_ms / 1000, lang),
                  })}
                </span>
              )}
            </span>
          </li>
        );
      })}
    </ol>
  );
}
