import "@vigilnet/ui/styles.css";
import { isLang, langOf } from "@vigilnet/ui/i18n";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { takeToken } from "./data/client";
import { start } from "./data/live";
import { recall } from "./settings-of-page";

takeToken();
void start();
const kept = recall("lang");
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <App first={isLang(kept) ? kept : langOf(navigator.languages)} />
    </StrictMode>,
  );
}
