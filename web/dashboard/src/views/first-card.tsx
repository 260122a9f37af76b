import { Button, Card } from "@vigilnet/ui/controls";
import { useT } from "@vigilnet/ui/i18n";
import { useState } from "react";
import { recall, remember } from "../settings-of-page";

const links = [
  ["first.boot", "#/settings/protection"],
  ["first.invite", "#/peers"],
  ["first.leave", "#/path"],
] as const;

/** Said once, when a newcomer's first path is there; it goes for good when it is closed. */
export function FirstCard() {
  const t = useT();
  const [isDone, setIsDone] = useState(() => recall("first") === "done");
  if (isDone) return null;
  return (
    <Card
      title={t("first.title")}
      className="mb-4"
      action={
        <Button
          look="quiet"
          onClick={() => {
            remember("first", "done");
            setIsDone(true);
          }}
        >
          {t("close")}
        </Button>
      }
    >
      <ul className="flex flex-wrap gap-x-6 gap-y-1 text-sm">
        {links.map(([key, to]) => (
          <li key={key}>
            <a href={to} className="font-medium text-accent-ink hover:underline">
              {t(key)}
            </a>
          </li>
        ))}
      </ul>
    </Card>
  );
}
