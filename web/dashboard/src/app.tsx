import { LanguageContext, loadCatalogue, useLang, useT } from "@vigilnet/ui/i18n";
import { say, sayNoDaemon, type Lang, type Said } from "@vigilnet/ui/states";
import { en, type Catalogue } from "@vigilnet/ui/words/en";
import { lazy, type ReactNode, Suspense, useEffect, useRef, useState } from "react";
import { useLive } from "./data/live";
import { useKeys } from "./keys";
import { useRoute, type View } from "./route";
import { remember } from "./settings-of-page";
import { Shell } from "./shell";
import { Doctor } from "./views/doctor";
import { Overview } from "./views/overview";
import { PathView } from "./views/path";
import { Peers } from "./views/peers";
import { Refused, Waiting } from "./views/refused";

const Settings = lazy(() => import("./views/settings"));

const SHOWN_AT_LEAST_MS = 400;

/** Seconds since the node was lost; 0 while it answers. */
function useLostFor(): number {
  const link = useLive((live) => live.link);
  const lostAt = useLive((live) => live.lostAt);
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (link !== "lost") return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [link]);
  return link === "lost" ? Math.max(1, Math.round((now - lostAt) / 1000)) : 0;
}

/** The state in words. One that passes by does not flicker; that green ended is said at once. */
function useSaid(): Said | null {
  const lang = useLang();
  const protection = useLive((live) => live.status?.protection ?? null);
  const lostFor = useLostFor();
  const said = lostFor > 1 ? sayNoDaemon(lostFor, lang) : protection && say(protection, lang);
  const shown = useRef<{ said: Said | null; at: number }>({ said: null, at: 0 });
  const [, again] = useState(0);
  const before = shown.current;
  const left = before.at + SHOWN_AT_LEAST_MS - performance.now();
  const mustStay =
    before.said !== null &&
    said !== null &&
    said.id !== before.said.id &&
    before.said.tone !== "ok" &&
    left > 0;
  useEffect(() => {
    if (!mustStay) return;
    const timer = setTimeout(() => again((count) => count + 1), left);
    return () => clearTimeout(timer);
  });
  if (mustStay) return before.said;
  if (said?.id !== before.said?.id) shown.current = { said, at: performance.now() };
  else shown.current = { said, at: before.at };
  return said;
}

function ViewOf({
  view,
  part,
  said,
  setLang,
}: {
  view: View;
  part: string;
  said: Said | null;
  setLang: (lang: Lang) => void;
}): ReactNode {
  switch (view) {
    case "path":
      return <PathView />;
    case "peers":
      return <Peers />;
    case "doctor":
      return <Doctor part={part} />;
    case "settings":
      return (
        <Suspense>
          <Settings setLang={setLang} />
        </Suspense>
      );
    default:
      return <Overview said={said} />;
  }
}

function Dashboard({ setLang }: { setLang: (lang: Lang) => void }) {
  const t = useT();
  const [view, part] = useRoute();
  const link = useLive((live) => live.link);
  const hasStatus = useLive((live) => live.status !== null);
  const said = useSaid();
  useKeys();
  useEffect(() => {
    const parts = [said?.title ?? t("state.serving"), t(`nav.${view}`), "VigilNet"];
    document.title = (hasStatus ? parts : parts.slice(1)).join(" · ");
  }, [said?.title, view, t, hasStatus]);
  useEffect(() => {
    if (document.activeElement?.closest("nav")) document.querySelector<HTMLElement>("main h1")?.focus();
    scrollTo(0, 0);
  }, [view]);
  if (link === "refused") return <Refused />;
  return (
    <Shell view={view} said={said} setLang={setLang}>
      {hasStatus ? <ViewOf view={view} part={part} said={said} setLang={setLang} /> : <Waiting said={said} />}
    </Shell>
  );
}

export function App({ first }: { first: Lang }) {
  const [lang, setLang] = useState<Lang>(first);
  const [catalogue, setCatalogue] = useState<{ lang: Lang; catalogue: Catalogue }>({
    lang: "en",
    catalogue: en,
  });
  useEffect(() => {
    void loadCatalogue(lang).then((loaded) => {
      document.documentElement.lang = lang;
      setCatalogue({ lang, catalogue: loaded });
    });
  }, [lang]);
  return (
    <LanguageContext value={catalogue}>
      <Dashboard
        setLang={(chosen) => {
          remember("lang", chosen);
          setLang(chosen);
        }}
      />
    </LanguageContext>
  );
}
