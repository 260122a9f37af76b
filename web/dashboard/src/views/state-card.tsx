import { BuildingLine, CircuitLine, CircuitSteps, DirectLine } from "@vigilnet/ui/circuit";
import { Button, Card } from "@vigilnet/ui/controls";
import { useT } from "@vigilnet/ui/i18n";
import type { Said } from "@vigilnet/ui/states";
import { StatusTile } from "@vigilnet/ui/status";
import { RefreshCw } from "@vigilnet/ui/icons";
import { press, useBusy } from "../data/actions";
import { useLive } from "../data/live";
import { inUseFirst } from "../data/order";

/** Many stations do not fit beside each other. */
const MOST_IN_A_LINE = 5;

function Way({ said }: { said: Said }) {
  const t = useT();
  const protection = useLive((live) => live.status?.protection ?? null);
  const path = useLive((live) => live.paths)
    .slice()
    .sort(inUseFirst)[0];
  if (said.id === "no-daemon") return null;
  if (said.id === "offline" || said.id === "blocked") {
    return said.id === "offline" ? <DirectLine /> : <p className="text-sm text-ink-3">{t("path.none")}</p>;
  }
  if (protection?.api !== "connected") {
    return protection && protection.hops <= MOST_IN_A_LINE ? (
      <BuildingLine hops={protection.hops} hop={protection.hop} />
    ) : null;
  }
  if (!path) return <p className="text-sm text-ink-3">{t("path.none")}</p>;
  if (path.hops.length > MOST_IN_A_LINE) return <CircuitSteps path={path} />;
  return (
    <>
      <div className="max-sm:hidden">
        <CircuitLine path={path} />
      </div>
      <div className="sm:hidden">
        <CircuitSteps path={path} />
      </div>
    </>
  );
}

/** The answer to "Am I protected?": state, sentence, what one can do, and the way of the traffic. */
export function StateCard({ said }: { said: Said }) {
  const protection = useLive((live) => live.status?.protection ?? null);
  const first = useLive((live) => live.paths)
    .slice()
    .sort(inUseFirst)[0];
  const isBusy = useBusy();
  const hasWay = said.id !== "no-daemon";
  return (
    <Card className="mb-4" flush>
      <div className="flex flex-wrap items-start gap-x-4 gap-y-4 p-5 md:flex-nowrap md:p-6">
        <StatusTile said={said} />
        <div className="min-w-0 flex-1 basis-60" role={said.id === "no-daemon" ? undefined : "status"}>
          <h2 className="text-2xl font-semibold tracking-tight">{said.title}</h2>
          <p className="mt-1 max-w-[62ch] text-base text-pretty">{said.sentence}</p>
        </div>
        <div className="flex shrink-0 flex-wrap gap-2 max-md:w-full max-md:[&>button]:flex-1 md:flex-row-reverse">
          {said.buttons
            .filter(({ action }) => action !== "open-portal")
            .map(({ action, label, isMain }) => (
              <Button
                key={action}
                size="lg"
                look={isMain ? "primary" : "plain"}
                icon={action === "new-path" ? RefreshCw : undefined}
                disabled={isBusy && action !== "retry"}
                data-action={action}
                {...(action === "new-path" ? { "data-new-path": "" } : {})}
                onClick={() => press(action, protection, first?.id)}
              >
                {label}
              </Button>
            ))}
        </div>
      </div>
      {hasWay && (
        <div className="border-t border-line px-5 py-5 md:px-6">
          <Way said={said} />
        </div>
      )}
    </Card>
  );
}
