import { LoaderCircle, ShieldAlert, ShieldBan, ShieldCheck, ShieldOff, type LucideIcon } from "./icons";
import { toneDot, toneSoft } from "./controls";
import { cx } from "./lib";
import type { Said } from "./states";

// Shape, word and colour each carry the state, so that none of them is needed alone.
const icons: Readonly<Record<string, LucideIcon>> = {
  ShieldCheck,
  ShieldAlert,
  ShieldBan,
  ShieldOff,
  LoaderCircle,
};

export function StatusTile({ said }: { said: Said }) {
  const Icon = icons[said.icon] ?? ShieldAlert;
  return (
    <span
      aria-hidden
      className={cx("tone-tile grid size-13 shrink-0 place-items-center rounded-xl", toneSoft[said.tone])}
    >
      <Icon size={26} strokeWidth={1.9} className={said.icon === "LoaderCircle" ? "spin" : undefined} />
    </span>
  );
}

export function StatusPill({ said }: { said: Said }) {
  return (
    <span
      className={cx(
        "inline-flex min-h-7 max-w-full items-center gap-2 rounded-xl px-3 py-1 text-sm leading-[18px] font-medium",
        toneSoft[said.tone],
      )}
    >
      <span aria-hidden className={cx("tone-dot size-2 shrink-0 rounded-full", toneDot[said.tone])} />
      <span>{said.title}</span>
    </span>
  );
}

export function Logo({ size = 24 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" aria-hidden className="shrink-0">
      <rect width="24" height="24" rx="6" className="fill-accent" />
      <path d="M5.5 8.2 12 17l6.5-8.8" fill="none" stroke="#fff" strokeWidth="1.8" strokeLinecap="round" />
      <circle cx="12" cy="8" r="1.9" fill="#fff" />
    </svg>
  );
}
