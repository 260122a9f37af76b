import type { Setting } from "@vigilnet/ui/api-types";
import { Button, Select, Switch, TextField } from "@vigilnet/ui/controls";
import { useT } from "@vigilnet/ui/i18n";
import { useEffect, useState } from "react";
import { useBusy } from "../data/actions";
import { setOption } from "../data/settings";

interface OptionControlProps {
  setting: Setting;
  reload: () => void;
  /** how it is set; by default as an option of the settings file */
  onSet?: (value: string) => Promise<void>;
  label?: string;
}

/** The control that fits an option's kind; text is sent when it is confirmed, not at each key. */
export function OptionControl({ setting, reload, onSet, label }: OptionControlProps) {
  const isBusy = useBusy();
  const name = label ?? setting.key;
  const set = onSet ?? ((value: string) => setOption(setting.key, value, reload));
  const isOff = setting.is_locked || isBusy;
  if (setting.kind === "bool") {
    return (
      <Switch
        label={name}
        checked={setting.value === "true"}
        disabled={isOff}
        onChange={(on) => void set(String(on))}
      />
    );
  }
  if (setting.kind === "choice") {
    return (
      <Select
        aria-label={name}
        value={setting.value}
        disabled={isOff}
        onChange={(event) => void set(event.target.value)}
      >
        {setting.choices.map((choice) => (
          <option key={choice} value={choice}>
            {choice}
          </option>
        ))}
      </Select>
    );
  }
  return <TextOption setting={setting} name={name} isOff={isOff} set={set} />;
}

interface TextOptionProps {
  setting: Setting;
  name: string;
  isOff: boolean;
  set: (value: string) => Promise<void>;
}

function TextOption({ setting, name, isOff, set }: TextOptionProps) {
  const t = useT();
  const [text, setText] = useState(setting.value);
  useEffect(() => setText(setting.value), [setting.value]);
  const isNumber = setting.kind === "int" || setting.kind === "float" || setting.kind === "octets";
  return (
    <form
      className="flex max-w-full gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        void set(text.trim());
      }}
    >
      <TextField
        aria-label={name}
        value={text}
        disabled={isOff}
        inputMode={isNumber ? "decimal" : undefined}
        onChange={(event) => setText(event.target.value)}
        className={isNumber ? "w-32 text-right num" : "w-56 max-w-full"}
        placeholder={setting.kind === "list" ? t("option.list") : ""}
      />
      {text !== setting.value && (
        <Button look="primary" type="submit" disabled={isOff}>
          {t("save")}
        </Button>
      )}
    </form>
  );
}
