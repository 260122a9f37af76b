// Small parts without any knowledge of VigilNet. Native elements first: <dialog>, <details>, <select> and
// radio inputs bring focus, Escape and the screen reader's words with them.
import { Search, X, type LucideIcon } from "./icons";
import {
  type ButtonHTMLAttributes,
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  useEffect,
  useId,
  useRef,
} from "react";
import { cx } from "./lib";
import type { Tone } from "./states";

export const toneSoft: Record<Tone, string> = {
  ok: "bg-ok-soft text-ok-ink",
  busy: "bg-warn-soft text-warn-ink",
  warn: "bg-warn-soft text-warn-ink",
  hold: "bg-hold-soft text-hold-ink",
  bad: "bg-bad-soft text-bad-ink",
};
export const toneDot: Record<Tone, string> = {
  ok: "bg-ok",
  busy: "bg-warn",
  warn: "bg-warn",
  hold: "bg-hold",
  bad: "bg-bad",
};

type ButtonProps = ButtonHTMLAttributes<HTMLButtonElement> & {
  look?: "primary" | "plain" | "quiet" | "danger";
  icon?: LucideIcon | undefined;
  size?: "md" | "lg";
};

export function Button({
  look = "plain",
  icon: Icon,
  size = "md",
  className,
  children,
  ...rest
}: ButtonProps) {
  return (
    <button
      type="button"
      className={cx(
        "inline-flex min-w-0 items-center justify-center gap-2 rounded-md font-medium transition-colors disabled:cursor-not-allowed disabled:opacity-55",
        size === "lg" ? "min-h-10 px-4 py-1.5 text-base leading-5" : "min-h-8 px-3 py-1 text-sm",
        look === "primary" && "bg-accent text-on-accent hover:bg-accent-hover",
        look === "plain" && "border border-control/60 bg-surface text-ink hover:bg-sunken",
        look === "quiet" && "text-ink-2 hover:bg-sunken hover:text-ink",
        look === "danger" && "border border-bad/50 bg-surface text-bad-ink hover:bg-bad-soft",
        className,
      )}
      {...rest}
    >
      {Icon && <Icon size={15} aria-hidden className="shrink-0" />}
      {children}
    </button>
  );
}

interface CardProps {
  title?: string;
  hint?: ReactNode;
  action?: ReactNode;
  children: ReactNode;
  className?: string;
  flush?: boolean;
}

export function Card({ title, hint, action, children, className, flush }: CardProps) {
  const id = useId();
  return (
    <section
      aria-labelledby={title ? id : undefined}
      className={cx("min-w-0 rounded-lg border border-line bg-surface shadow-card", className)}
    >
      {title && (
        <header className="flex min-h-12 flex-wrap items-center gap-x-3 gap-y-1 px-5 pt-3.5 pb-1">
          <div className="min-w-0 flex-1 basis-40">
            <h2 id={id} className="text-base font-semibold">
              {title}
            </h2>
            {hint && <p className="text-sm text-ink-3">{hint}</p>}
          </div>
          {action}
        </header>
      )}
      <div className={cx(!flush && (title ? "px-5 pt-2 pb-5" : "p-5"))}>{children}</div>
    </section>
  );
}

interface BadgeProps {
  tone?: Tone | "accent" | undefined;
  children: ReactNode;
  icon?: LucideIcon;
}

export function Badge({ tone, children, icon: Icon }: BadgeProps) {
  return (
    <span
      className={cx(
        "inline-flex min-h-5 items-center gap-1 rounded-sm px-1.5 text-xs font-medium",
        !tone
          ? "bg-sunken text-ink-2"
          : tone === "accent"
            ? "bg-accent-soft text-accent-ink"
            : toneSoft[tone],
      )}
    >
      {Icon && <Icon size={12} aria-hidden />}
      {children}
    </span>
  );
}

/** Two letters in a frame instead of a flag: the same on every system, and no politics. */
export function CountryCode({ code }: { code: string }) {
  return (
    <span
      aria-hidden
      className="inline-flex h-[18px] min-w-6 shrink-0 items-center justify-center rounded-sm border border-line bg-sunken px-1 font-mono text-[11px] leading-none font-medium text-ink-2"
    >
      {code || "··"}
    </span>
  );
}

interface SwitchProps {
  label: string;
  checked: boolean;
  onChange: (on: boolean) => void;
  disabled?: boolean;
  describedBy?: string;
}

export function Switch({ label, checked, onChange, disabled, describedBy }: SwitchProps) {
  return (
    <button
      type="button"
      role="switch"
      aria-checked={checked}
      aria-label={label}
      aria-describedby={describedBy}
      disabled={disabled}
      onClick={() => onChange(!checked)}
      className={cx(
        "relative h-6 w-11 shrink-0 rounded-full border transition-colors disabled:cursor-not-allowed disabled:opacity-55",
        checked ? "border-accent bg-accent" : "border-control bg-sunken",
      )}
    >
      <span
        className={cx(
          "absolute top-[3px] left-[3px] size-4 rounded-full transition-transform",
          checked ? "translate-x-5 bg-on-accent" : "bg-control",
        )}
      />
    </button>
  );
}

interface SegmentedProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
  disabled?: boolean;
}

/** One of a few: a radio group that looks like a segmented control. */
export function Segmented<T extends string>({
  label,
  value,
  options,
  onChange,
  disabled,
}: SegmentedProps<T>) {
  const name = useId();
  return (
    <fieldset
      disabled={disabled}
      className="inline-flex max-w-full flex-wrap gap-0.5 rounded-md bg-sunken p-0.5"
    >
      <legend className="sr-only">{label}</legend>
      {options.map(([key, text]) => (
        <label
          key={key}
          className={cx(
            "flex min-h-7 items-center rounded-sm px-2.5 text-sm font-medium has-focus-visible:outline-2 has-focus-visible:outline-accent-ink",
            key === value
              ? "bg-surface text-ink shadow-[0_0_0_1px_var(--line),0_1px_2px_#0000000f]"
              : "text-ink-2 hover:text-ink",
            disabled && "cursor-not-allowed opacity-55",
          )}
        >
          <input
            type="radio"
            name={name}
            value={key}
            checked={key === value}
            onChange={() => onChange(key)}
            className="sr-only"
          />
          {text}
        </label>
      ))}
    </fieldset>
  );
}

const field =
  "rounded-md border border-control/60 bg-surface text-sm text-ink placeholder:text-ink-3 disabled:opacity-55";

export function Select({ className, children, ...rest }: SelectHTMLAttributes<HTMLSelectElement>) {
  return (
    <select className={cx(field, "h-8 max-w-full px-2 font-medium", className)} {...rest}>
      {children}
    </select>
  );
}

export function TextField({ className, ...rest }: InputHTMLAttributes<HTMLInputElement>) {
  return (
    <input
      spellCheck={false}
      autoComplete="off"
      className={cx(field, "h-8 min-w-0 px-2", className)}
      {...rest}
    />
  );
}

interface SearchFieldProps {
  label: string;
  value: string;
  onChange: (text: string) => void;
}

export function SearchField({ label, value, onChange }: SearchFieldProps) {
  return (
    <label className="relative block max-sm:w-full">
      <span className="sr-only">{label}</span>
      <Search size={15} aria-hidden className="absolute top-2 left-2.5 text-ink-3" />
      <input
        type="search"
        data-search
        value={value}
        onChange={(event) => onChange(event.target.value)}
        placeholder={label}
        className={cx(field, "h-8 w-60 pr-2 pl-8 max-sm:w-full")}
      />
    </label>
  );
}

interface DialogProps {
  isOpen: boolean;
  onClose: () => void;
  title: string;
  closeLabel: string;
  children: ReactNode;
}

export function Dialog({ isOpen, onClose, title, closeLabel, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    if (isOpen && !ref.current?.open) {
      ref.current?.showModal();
      ref.current?.querySelector<HTMLElement>("[data-first]")?.focus();
    }
    if (!isOpen && ref.current?.open) ref.current.close();
  }, [isOpen]);
  return (
    <dialog
      ref={ref}
      onClose={onClose}
      aria-labelledby={id}
      className="w-[min(520px,calc(100vw-32px))] rounded-xl bg-surface p-0 shadow-over"
    >
      {isOpen && (
        <>
          <header className="flex items-center justify-between gap-4 px-6 pt-5">
            <h2 id={id} className="text-lg font-semibold">
              {title}
            </h2>
            <button
              type="button"
              aria-label={closeLabel}
              onClick={onClose}
              className="-mr-2 rounded-md p-2 text-ink-3 hover:bg-sunken hover:text-ink"
            >
              <X size={16} aria-hidden />
            </button>
          </header>
          <div className="px-6 pt-2 pb-6">{children}</div>
        </>
      )}
    </dialog>
  );
}

interface ViewHeadProps {
  title: string;
  question: string;
  children?: ReactNode;
}

export function ViewHead({ title, question, children }: ViewHeadProps) {
  return (
    <header className="mb-5 flex flex-wrap items-center gap-x-4 gap-y-3">
      <div className="min-w-0 flex-1 basis-64">
        <h1 tabIndex={-1} className="text-xl font-semibold tracking-tight outline-none">
          {title}
        </h1>
        <p className="text-base text-ink-3">{question}</p>
      </div>
      {children && <div className="flex flex-wrap gap-2 max-sm:w-full">{children}</div>}
    </header>
  );
}
