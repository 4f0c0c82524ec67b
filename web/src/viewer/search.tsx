/** The search page: what is typed is asked after a short pause; the address keeps it, so that Back and a link work. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Card, SearchPage as Page } from "../sdk";
import { Search } from "../ui/icons";
import { CardLink, Waiting } from "./cards";
import { useApp, useLoad } from "./context";

const PAUSE_MS = 250;
/** As many characters as the service takes. */
const LONGEST = 100;
const AGAIN_MS = 1000;

export function SearchPage({ words }: { words: string }): JSX.Element {
  const { t } = useApp();
  const [typed, setTyped] = useState(words);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  useEffect(() => {
    if (typed === words) return undefined;
    // Replaced, not pushed: Back leads out of the search, not through its letters.
    const timer = setTimeout(() => location.replace(`#/search/${encodeURIComponent(typed)}`), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed, words]);
  return (
    <>
      <h1 class="page-name">{t("search")}</h1>
      <form class="search" role="search" onSubmit={(e) => e.preventDefault()}>
        <Search />
        <input ref={input} type="search" value={typed} maxLength={LONGEST} aria-label={t("search")} placeholder={t("searchHint")} autocomplete="off" onInput={(e) => setTyped(e.currentTarget.value)} />
      </form>
      {/[\p{L}\p{N}]/u.test(words) && <Found key={words} words={words} />}
    </>
  );
}

function Found({ words }: { words: string }): JSX.Element {
  const { client, t } = useApp();
  const first = useLoad(`search ${words}`, () => client.search(words));
  const [more, setMore] = useState<Page | null>(null);
  const behind = first.value?.degraded === true;
  useEffect(() => {
    if (!behind) return undefined;
    const timer = setTimeout(first.reload, AGAIN_MS);
    return () => clearTimeout(timer);
  }, [behind, first.value]);
  if (!first.value) return <Waiting error={first.error} reload={first.reload} />;
  const hits: Card[] = [...first.value.hits, ...(more?.hits ?? [])];
  const { cursor } = more ?? first.value;
  const next = async (): Promise<void> => {
    const page = await client.search(words, cursor);
    setMore({ ...page, hits: [...(more?.hits ?? []), ...page.hits] });
  };
  if (hits.length === 0 && !behind) {
    return <div class="notice" role="status"><h2>{t("nothingFound", { words })}</h2><p>{t("nothingFoundHint")}</p></div>;
  }
  return (
    <>
      <p class="search-count" role="status">{t(cursor === undefined ? "found" : "foundMore", { n: hits.length, words })}</p>
      <ul class="grid">{hits.map((c) => <li key={c.id}><CardLink card={c} /></li>)}</ul>
      {cursor !== undefined && <p class="search-more"><button class="button" onClick={() => void next()}>{t("more")}</button></p>}
    </>
  );
}
