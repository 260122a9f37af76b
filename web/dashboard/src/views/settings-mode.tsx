import { Button, Dialog, Select, TextField } from "@vigilnet/ui/controls";
import { useT } from "@vigilnet/ui/i18n";
import { useState } from "react";
import { run, useBusy } from "../data/actions";
import { ApiError, change } from "../data/client";
import { useLive } from "../data/live";
import { modeKey, MODES } from "../data/modes";
import { Group, Row } from "./settings-row";

/** What this node does for others. To become an exit one has to read what that means, and say yes. */
export function HelpingOthers() {
  const t = useT();
  const isBusy = useBusy();
  const mode = useLive((live) => live.status?.mode ?? "");
  const [asked, setAsked] = useState<{ mode: string; why: string } | null>(null);
  const choose = async (wanted: string): Promise<void> => {
    await run(
      async () => {
        try {
          return await change("set-mode", { mode: wanted });
        } catch (error) {
          if (!(error instanceof ApiError) || error.code !== "mode.warning") throw error;
          setAsked({ mode: wanted, why: error.why || error.message });
          return null;
        }
      },
      (answer) => answer?.message ?? "",
    );
  };
  return (
    <Group id="helping" title={t("section.helping")}>
      <Row
        name={t("mode")}
        control={
          <Select
            aria-label={t("mode")}
            value={mode}
            disabled={isBusy}
            onChange={(event) => void choose(event.target.value)}
          >
            {MODES.map((each) => (
              <option key={each} value={each}>
                {t(`mode.${each}`)}
              </option>
            ))}
          </Select>
        }
      >
        {t(`${modeKey(mode)}.what`)}
      </Row>
      <ExitWarning
        asked={asked}
        onClose={() => setAsked(null)}
        onAccept={(contact) => {
          setAsked(null);
          if (asked) {
            void run(() =>
              change("set-mode", { mode: asked.mode, accept_exit: true, abuse_contact: contact }),
            );
          }
        }}
      />
    </Group>
  );
}

interface ExitWarningProps {
  asked: { mode: string; why: string } | null;
  onClose: () => void;
  onAccept: (contact: string) => void;
}

function ExitWarning({ asked, onClose, onAccept }: ExitWarningProps) {
  const t = useT();
  const [contact, setContact] = useState("");
  return (
    <Dialog isOpen={asked !== null} onClose={onClose} title={t("exit.title")} closeLabel={t("close")}>
      <p className="text-base">{t("exit.what")}</p>
      <ul className="mt-3 list-disc space-y-1 pl-5 text-sm">
        <li>{t("exit.own")}</li>
        <li>{t("exit.provider")}</li>
        <li>{t("exit.ports")}</li>
      </ul>
      {asked?.why && (
        <details className="mt-3 text-sm">
          <summary className="inline-block rounded-sm font-medium text-accent-ink hover:underline">
            {t("exit.words")}
          </summary>
          <p className="mt-2 rounded-md bg-sunken px-4 py-3 first-letter:uppercase" lang="en">
            {asked.why}
          </p>
        </details>
      )}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onAccept(contact.trim());
        }}
      >
        <label className="mt-4 block text-sm font-medium text-ink">
          {t("exit.contact")}
          <TextField
            type="email"
            required
            value={contact}
            onChange={(event) => setContact(event.target.value)}
            placeholder="abuse@example.org"
            className="mt-1 block h-9 w-full px-3 text-base"
          />
        </label>
        <div className="mt-5 flex flex-wrap justify-end gap-2">
          <Button data-first onClick={onClose}>
            {t("exit.no")}
          </Button>
          <Button look="danger" type="submit">
            {t("exit.yes")}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
