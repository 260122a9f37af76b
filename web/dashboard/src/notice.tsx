import { useSaid, useT } from "@vigilnet/ui/i18n";
import { cx } from "@vigilnet/ui/lib";
import { CircleCheck, TriangleAlert, X } from "@vigilnet/ui/icons";
import { useEffect } from "react";
import { dismiss, useOutcome } from "./data/actions";

const SHOWN_MS = 6000;

/** What came of the last change. An error stays until it is read: what, why, and what next. */
export function Notice() {
  const t = useT();
  const said = useSaid();
  const outcome = useOutcome();
  useEffect(() => {
    if (!outcome || outcome.isError) return;
    const timer = setTimeout(dismiss, SHOWN_MS);
    return () => clearTimeout(timer);
  }, [outcome]);
  const Icon = outcome?.isError ? TriangleAlert : CircleCheck;
  return (
    <div
      role="status"
      className="pointer-events-none fixed inset-x-0 bottom-0 z-50 flex justify-center p-4 max-md:bottom-14"
    >
      {outcome && (
        <div
          className={cx(
            "pointer-events-auto flex max-w-[560px] min-w-0 items-start gap-3 rounded-lg border bg-surface py-3 pr-2 pl-4 text-sm shadow-over",
            outcome.isError ? "border-bad/50" : "border-line",
          )}
        >
          <Icon
            size={16}
            aria-hidden
            className={cx("mt-0.5 shrink-0", outcome.isError ? "text-bad" : "text-ok")}
          />
          <div className="min-w-0 flex-1">
            <p className="font-medium break-words text-ink first-letter:uppercase">{said(outcome.message)}</p>
            {outcome.why && (
              <p className="break-words text-ink-2 first-letter:uppercase">{said(outcome.why)}</p>
            )}
            {outcome.next && (
              <p className="mt-1 text-ink-2">
                {t("next")}{" "}
                <code className="font-mono text-xs break-words text-ink">{said(outcome.next)}</code>
              </p>
            )}
          </div>
          <button
            type="button"
            aria-label={t("close")}
            onClick={dismiss}
            className="rounded-md p-1.5 text-ink-3 hover:bg-sunken hover:text-ink"
          >
            <X size={15} aria-hidden />
          </button>
        </div>
      )}
    </div>
  );
}
