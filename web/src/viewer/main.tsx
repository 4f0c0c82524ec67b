/** The viewer app's composition root: everything that is made once is made here. */
import { render } from "preact";
import { useMemo, useState } from "preact/hooks";
import type { JSX } from "preact";
import { preload } from "../player";
import { BrowserStorage, Client } from "../sdk";
import { Globe, Mark, Moon, Search, Sun } from "../ui/icons";
import { useTheme } from "../ui/theme";
import "../ui/theme.css";
import "./viewer.css";
import "./player.css";
import { type App, AppContext, translator } from "./context";
import { reportToParent } from "./embed";
import { listenForArrows } from "./focus";
import { ChannelsPage, HomePage, ListPage, TitlePage } from "./pages";
import { type Address, useAddress } from "./router";
import { SearchPage } from "./search";
import { expose } from "./statistics";
import { initialLang, keepLang } from "./texts";
import { WatchPage } from "./watch";

const query = new URLSearchParams(location.search);
const embedded = query.has("embed");

const client = new Client({
  front: location.origin,
  market: query.get("market") ?? "de",
  // The demo's frames are viewers of their own: they must not take the place of the one who browses beside them.
  storage: new BrowserStorage(embedded ? "eisbach.demo." : "eisbach."),
});

function Page({ address }: { address: Address }): JSX.Element {
  switch (address.page) {
    case "home":
      return <HomePage />;
    case "channels":
      return <ChannelsPage />;
    case "list":
      return <ListPage />;
    case "search":
      return <SearchPage words={address.id} />;
    case "title":
      return <TitlePage id={address.id} />;
    default:
      return <div class="notice"><h1>404</h1><a class="button primary" href="#/">Eisbach</a></div>;
  }
}

function Shell(): JSX.Element {
  const address = useAddress();
  const [lang, setLang] = useState(initialLang(query));
  const [theme, toggle] = useTheme();
  const app = useMemo<App>(() => {
    document.documentElement.lang = lang;
    return { client, lang, t: translator(lang), embedded, query, setLang: (l) => { keepLang(l); setLang(l); } };
  }, [lang]);
  const { t } = app;
  if (address.page === "watch" || address.page === "live") {
    const asset = { type: address.page === "live" ? "live" : "vod", id: address.id } as const;
    return <AppContext.Provider value={app}><main><WatchPage key={`${asset.type} ${asset.id}`} asset={asset} /></main></AppContext.Provider>;
  }
  const at = (page: Address["page"]): "page" | undefined => (address.page === page ? "page" : undefined);
  return (
    <AppContext.Provider value={app}>
      <a class="skip" href="#content" onClick={(e) => { e.preventDefault(); document.getElementById("content")?.focus(); }}>{t("skip")}</a>
      <header class="top">
        <a class="brand" href="#/" aria-label="Eisbach"><Mark /><span>Eisbach</span></a>
        <nav aria-label={t("main")}>
          <a href="#/" aria-current={at("home")}>{t("home")}</a>
          <a href="#/live" aria-current={at("channels")}>{t("live")}</a>
          <a href="#/list" aria-current={at("list")}>{t("myList")}</a>
        </nav>
        <div class="top-tools">
          <a class="icon-button" href="#/search/" aria-label={t("search")} title={t("search")} aria-current={at("search")}><Search /></a>
          <button class="icon-button" aria-label={t("languageLabel")} title={t("language")} onClick={() => app.setLang(lang === "de" ? "en" : "de")}><Globe /></button>
          <button class="icon-button" aria-label={theme === "dark" ? t("light") : t("dark")} onClick={toggle}>{theme === "dark" ? <Sun /> : <Moon />}</button>
        </div>
      </header>
      <main id="content" tabIndex={-1}><Page address={address} /></main>
      <footer class="bottom">
        <span>Big Buck Bunny © 2008 Blender Foundation, <a href="https://peach.blender.org/">peach.blender.org</a>, CC BY 3.0</span>
        <span>Eisbach, Apache-2.0</span>
      </footer>
    </AppContext.Provider>
  );
}

expose(client);
// While the viewer looks around, the player's library comes: the first picture then waits for media only.
const library = query.get("player") === "shaka" || query.get("protocol") === "dash" ? "shaka" : undefined;
setTimeout(() => void preload(library).catch(() => undefined), 2500);
listenForArrows();
if (embedded) {
  document.documentElement.classList.add("embedded");
  reportToParent(client);
}
const root = document.getElementById("app");
if (root) render(<Shell />, root);
