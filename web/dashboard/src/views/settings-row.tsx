import type { Setting } from "@vigilnet/ui/api-types";
import { Badge, Card } from "@vigilnet/ui/controls";
import { useT } from "@vigilnet/ui/i18n";
import { RotateCcw } from "@vigilnet/ui/icons";
import type { ReactNode } from "react";
import { useBusy } from "../data/actions";
import { resetOption } from "../data/settings";

export function Group({
  id,
  title,
  hint,
  children,
}: {
  id: string;
  title: string;
  hint?: string;
  children: ReactNode;
}) {
  return (
    <div id={id} className="scroll-mt-6">
      <Card title={title} {...(hint ? { hint } : {})} flush>
        <div className="divide-y divide-line px-5 pb-1">{children}</div>
      </Card>
    </div>
  );
}

interface RowProps {
  name: string;
  control: ReactNode;
  children?: ReactNode;
  setting?: Setting | undefined;
  reload?: () => void;
  isMono?: boolean;
}

/** Name, meaning, control; of an option also key, default, who set it, and a way back. */
export function Row({ name, control, children, setting, reload, isMono }: RowProps) {
  const t = useT();
  const isBusy = useBusy();
  return (
    <div className="grid gap-x-8 gap-y-2.5 py-4 sm:grid-cols-[minmax(0,1fr)_auto] sm:items-center">
      <div className="min-w-0">
        <h3 className="flex flex-wrap items-center gap-x-2 gap-y-1 text-base font-medium">
          <span className={isMono ? "font-mono text-sm break-all" : undefined}>{name}</span>
          {setting?.is_changed && !setting.is_locked && <Badge tone="accent">{t("option.changed")}</Badge>}
          {setting?.is_locked && (
            <Badge tone="hold">
              {setting.origin.startsWith("environment")
                ? t("option.environment", { name: setting.variable })
                : t("option.commandline")}
            </Badge>
          )}
          {setting?.restart_needed && <Badge tone="warn">{t("option.restart")}</Badge>}
        </h3>
        {children && <div className="mt-0.5 max-w-[64ch] text-sm">{children}</div>}
        {setting && (
          <p className="mt-1 flex flex-wrap items-center gap-x-3 text-xs text-ink-3">
            <span className="min-w-0 break-words">
              {!isMono && <code className="font-mono">{setting.key}</code>}
              {!isMono && ", "}
              {t("option.default", { value: setting.default || t("option.empty") })}
            </span>
            {setting.is_changed && !setting.is_locked && reload && (
              <button
                type="button"
                disabled={isBusy}
                onClick={() => void resetOption(setting.key, reload)}
                className="inline-flex min-h-6 items-center gap-1 rounded-sm font-medium text-accent-ink hover:underline"
              >
                <RotateCcw size={12} aria-hidden />
                {t("option.reset")}
                <span className="sr-only"> {setting.key}</span>
              </button>
            )}
          </p>
        )}
      </div>
      <div className="min-w-0 justify-self-start sm:justify-self-end">{control}</div>
    </div>
  );
}
