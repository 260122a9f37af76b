import { Dialog } from "@vigilnet/ui/controls";
import { LANGS, useLang, useT } from "@vigilnet/ui/i18n";
import { cx } from "@vigilnet/ui/lib";
import { type Lang, type Said } from "@vigilnet/ui/states";
import { Logo, StatusPill } from "@vigilnet/ui/status";
import {
  Activity,
  Keyboard,
  Route,
  Settings,
  Stethoscope,
  Waypoints,
  type LucideIcon,
} from "@vigilnet/ui/icons";
import { type ReactNode, useState } from "react";
import { useLive } from "./data/live";
import { VIEW_KEYS } from "./keys";
import { Notice } from "./notice";
import { VIEWS, type View } from "./route";

const icons: Readonly<Record<View, LucideIcon>> = {
  overview: Activity,
  path: Route,
  peers: Waypoints,
  doctor: Stethoscope,
  settings: Settings,
};

interface ShellProps {
  view: View;
  said: Said | null;
  setLang: (lang: Lang) => void;
  children: ReactNode;
}

export function Shell({ view, said, setLang, children }: ShellProps) {
  const t = useT();
  const lang = useLang();
  const version = useLive((live) => live.status?.version);
  const isServing = useLive((live) => live.status !== null && live.status.protection === null);
  const [showsKeys, setShowsKeys] = useState(false);
  return (
    <div className="min-h-dvh lg:grid lg:grid-cols-[216px_1fr]">
      <a
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.querySelector<HTMLElement>("main h1")?.focus();
        }}
        className="fixed top-2 left-2 z-50 -translate-y-20 rounded-md bg-accent px-3 py-2 text-sm font-medium text-on-accent focus:translate-y-0"
      >
        {t("skip")}
      </a>
      <header className="sticky top-0 z-30 flex border-line bg-bg max-lg:items-center max-lg:gap-4 max-lg:border-b max-lg:px-5 max-lg:py-2 lg:h-dvh lg:flex-col lg:border-r lg:p-3">
        <div className="flex items-center gap-2.5 lg:px-2 lg:pt-2 lg:pb-5">
          <Logo />
          <span className="text-base font-semibold tracking-tight text-ink max-md:sr-only">VigilNet</span>
        </div>
        <nav
          aria-label={t("views")}
          className="max-md:fixed max-md:inset-x-0 max-md:bottom-0 max-md:z-40 max-md:border-t max-md:border-line max-md:bg-surface max-md:px-1 max-md:pb-[env(safe-area-inset-bottom)]"
        >
          <ul className="flex gap-0.5 max-md:justify-between lg:flex-col">
            {VIEWS.map((id) => {
              const Icon = icons[id];
              return (
                <li key={id} className="max-md:min-w-0 max-md:flex-1">
                  <a
                    href={`#/${id}`}
                    aria-current={view === id ? "page" : undefined}
                    className={cx(
                      "flex items-center gap-2.5 rounded-md px-2.5 text-sm font-medium max-lg:gap-1.5 max-md:h-13 max-md:flex-col max-md:justify-center max-md:gap-0.5 max-md:px-0 max-md:text-[11px] max-md:leading-4 md:h-8",
                      view === id
                        ? "text-ink max-md:text-accent-ink md:bg-sunken"
                        : "text-ink-2 hover:bg-sunken hover:text-ink",
                    )}
                  >
                    <Icon
                      size={16}
                      aria-hidden
                      className={cx(
                        "shrink-0 md:max-lg:hidden",
                        view === id ? "text-accent-ink" : "text-ink-3",
                      )}
                    />
                    <span className="max-w-full truncate">{t(`nav.${id}`)}</span>
                  </a>
                </li>
              );
            })}
          </ul>
        </nav>
        <div className="mt-auto flex min-w-0 flex-col gap-3 max-lg:mt-0 max-lg:ml-auto lg:p-2">
          <div className="min-w-0">
            {said ? (
              <StatusPill said={said} />
            ) : isServing ? (
              <span className="text-sm text-ink-3">{t("state.serving")}</span>
            ) : null}
          </div>
          <div className="flex items-center justify-between text-xs text-ink-3 max-lg:hidden">
            <span className="num">{version ? t("version", { version }) : ""}</span>
            <span className="flex items-center gap-1">
              <button
                type="button"
                data-keys
                aria-label={t("keys.title")}
                title={t("keys.title")}
                onClick={() => setShowsKeys(true)}
                className="rounded-sm p-1 hover:text-ink"
              >
                <Keyboard size={16} aria-hidden />
              </button>
              <label>
                <span className="sr-only">{t("language")}</span>
                <select
                  value={lang}
                  onChange={(event) => setLang(event.target.value as Lang)}
                  className="rounded-sm bg-transparent py-1 text-ink-2 hover:text-ink"
                >
                  {LANGS.map(([id, name]) => (
                    <option key={id} value={id} className="bg-surface text-ink">
                      {name}
                    </option>
                  ))}
                </select>
              </label>
            </span>
          </div>
        </div>
      </header>
      <main
        id="main"
        className="mx-auto w-full max-w-[1180px] min-w-0 px-5 pt-6 pb-10 max-md:pb-24 lg:px-8 lg:pt-7"
      >
        {children}
      </main>
      <Notice />
      <Dialog
        isOpen={showsKeys}
        onClose={() => setShowsKeys(false)}
        title={t("keys.title")}
        closeLabel={t("close")}
      >
        <dl className="grid grid-cols-[auto_1fr] gap-x-6 gap-y-1.5 text-sm">
          {[
            ...Object.entries(VIEW_KEYS).map(([key, id]) => [`g ${key}`, t(`nav.${id}`)] as const),
            ["n", t("path.new")] as const,
            ["/", t("keys.search")] as const,
            ["?", t("keys.title")] as const,
          ].map(([key, what]) => (
            <div key={key} className="contents">
              <dt className="font-mono text-xs leading-5">{key}</dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </Dialog>
    </div>
  );
}
