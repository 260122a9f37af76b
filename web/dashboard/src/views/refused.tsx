import { Button } from "@vigilnet/ui/controls";
import { useT } from "@vigilnet/ui/i18n";
import type { Said } from "@vigilnet/ui/states";
import { Logo } from "@vigilnet/ui/status";
import { StateCard } from "./state-card";

/** Without a good token nothing is shown: this page is opened by the program. */
export function Refused() {
  const t = useT();
  return (
    <main className="grid min-h-dvh place-items-center p-6">
      <div className="max-w-[440px] rounded-xl border border-line bg-surface p-8 shadow-card">
        <Logo size={36} />
        <h1 tabIndex={-1} className="mt-5 text-xl font-semibold">
          {t("refused.title")}
        </h1>
        <p className="mt-2 text-base">{t("refused.why")}</p>
        <pre className="mt-4 rounded-md bg-sunken px-4 py-3 font-mono text-sm text-ink">vigilnet gui</pre>
        <Button className="mt-5" onClick={() => location.reload()}>
          {t("refused.again")}
        </Button>
      </div>
    </main>
  );
}

/** Before the first answer. */
export function Waiting({ said }: { said: Said | null }) {
  const t = useT();
  return (
    <>
      <h1 tabIndex={-1} className="mb-5 text-xl font-semibold tracking-tight outline-none">
        {t("nav.overview")}
      </h1>
      {said ? <StateCard said={said} /> : <p className="text-base text-ink-3">{t("waiting")}</p>}
    </>
  );
}
