/** What the viewer app says, in German and English. A key that is missing in one language does not compile. */
const en = {
  home: "Home", live: "Live", myList: "My list", search: "Search", searchHint: "Titles, genres, anything in the description", found: "{n} found for “{words}”", foundMore: "More than {n} found for “{words}”", nothingFound: "Nothing found for “{words}”", nothingFoundHint: "Fewer or other words may help.", more: "Show more", skip: "Skip to content", main: "Main", language: "Deutsch", languageLabel: "Switch language to German",
  light: "Switch to light", dark: "Switch to dark", play: "Play", resume: "Resume", resumeAt: "Resume at {time}", watchLive: "Watch live", details: "Details",
  add: "Add to my list", remove: "Remove from my list", continueWatching: "Continue watching", now: "Now", next: "Next", liveBadge: "Live",
  minutes: "{n} min", minutesLeft: "{n} min left", age: "from {n}", allAges: "for all ages", audio: "Audio", subtitles: "Subtitles", off: "Off",
  pause: "Pause", back10: "Back 10 seconds", forward10: "Forward 10 seconds", mute: "Mute", unmute: "Unmute", unmuteHint: "Playing without sound. Tap for sound.", volume: "Volume",
  fullscreen: "Full screen", exitFullscreen: "Leave full screen", goBack: "Back", seek: "Position", goLive: "Go to live", technical: "Technical details",
  loadFailed: "This did not load.", nothingAnswers: "No region answers at the moment. We keep trying.", tryAgain: "Try again", emptyList: "Nothing here yet", emptyHomeHint: "Titles appear here as soon as they are published.", emptyListHint: "What you add with + appears here, on every device of yours and in every region.",
  browse: "Browse", notFound: "There is nothing at this address.", reconnecting: "Connection lost. Trying again …", starting: "Starting …",
  scrollLeft: "Show earlier", scrollRight: "Show more", stale: "Shown from memory; the service does not answer at the moment.", footage: "Footage",
  stopTakenOver: "This playback continues on another device.", stopConcurrency: "Your plan plays no more streams at once.", watchHere: "Watch here",
  tooMany: "Too many streams at once", tooManyHint: "Stop one of them to watch here.", stopOther: "Stop {name} and watch here", ended: "The end", again: "Watch again",
  rights_window: "This title cannot be watched at the moment.", geo: "This title is not available in your country.", entitlement: "Your plan does not include this title.", age_pin: "This title needs a PIN.", not_found: "This title no longer exists.", refused: "The service refused to start this.",
  premium: "Premium", channelNumber: "Channel {n}", openShortcuts: "Keys: space play, arrows seek, F full screen, M sound, C subtitles, Esc back",
  servedBy: "Served by", cell: "Cell", buffer: "Buffer", gaps: "Gaps", firstFrame: "First frame", engine: "Player", none: "none", synopsisMissing: "No description.", genres: "Genres",
};

export type Key = keyof typeof en;

const de: Record<Key, string> = {
  home: "Start", live: "Live", myList: "Merkliste", search: "Suche", searchHint: "Titel, Genres, Wörter der Beschreibung", found: "{n} Treffer für „{words}“", foundMore: "Über {n} Treffer für „{words}“", nothingFound: "Nichts gefunden für „{words}“", nothingFoundHint: "Weniger oder andere Wörter helfen vielleicht.", more: "Weitere zeigen", skip: "Zum Inhalt springen", main: "Hauptmenü", language: "English", languageLabel: "Sprache auf Englisch umstellen",
  light: "Helle Ansicht", dark: "Dunkle Ansicht", play: "Abspielen", resume: "Weitersehen", resumeAt: "Weitersehen ab {time}", watchLive: "Live ansehen", details: "Details",
  add: "Auf die Merkliste", remove: "Von der Merkliste nehmen", continueWatching: "Weitersehen", now: "Jetzt", next: "Danach", liveBadge: "Live",
  minutes: "{n} Min.", minutesLeft: "noch {n} Min.", age: "ab {n}", allAges: "ohne Altersbeschränkung", audio: "Ton", subtitles: "Untertitel", off: "Aus",
  pause: "Anhalten", back10: "10 Sekunden zurück", forward10: "10 Sekunden vor", mute: "Ton aus", unmute: "Ton an", unmuteHint: "Läuft ohne Ton. Tippen für Ton.", volume: "Lautstärke",
  fullscreen: "Vollbild", exitFullscreen: "Vollbild verlassen", goBack: "Zurück", seek: "Position", goLive: "Zur Liveposition", technical: "Technische Angaben",
  loadFailed: "Das konnte nicht geladen werden.", nothingAnswers: "Zurzeit antwortet keine Region. Wir versuchen es weiter.", tryAgain: "Noch einmal", emptyList: "Noch nichts da", emptyHomeHint: "Titel stehen hier, sobald sie veröffentlicht sind.", emptyListHint: "Was Sie mit + merken, steht hier, auf jedem Ihrer Geräte und in jeder Region.",
  browse: "Stöbern", notFound: "Unter dieser Adresse gibt es nichts.", reconnecting: "Verbindung verloren. Neuer Versuch …", starting: "Es geht los …",
  scrollLeft: "Frühere zeigen", scrollRight: "Weitere zeigen", stale: "Aus dem Gedächtnis gezeigt; der Dienst antwortet zurzeit nicht.", footage: "Bildmaterial",
  stopTakenOver: "Diese Wiedergabe geht auf einem anderen Gerät weiter.", stopConcurrency: "Ihr Tarif erlaubt nicht mehr Wiedergaben zugleich.", watchHere: "Hier ansehen",
  tooMany: "Zu viele Wiedergaben zugleich", tooManyHint: "Beenden Sie eine, um hier zu sehen.", stopOther: "{name} beenden und hier sehen", ended: "Ende", again: "Noch einmal ansehen",
  rights_window: "Dieser Titel ist zurzeit nicht verfügbar.", geo: "Dieser Titel ist in Ihrem Land nicht verfügbar.", entitlement: "Dieser Titel ist in Ihrem Tarif nicht enthalten.", age_pin: "Für diesen Titel braucht es eine PIN.", not_found: "Diesen Titel gibt es nicht mehr.", refused: "Der Dienst hat den Start abgelehnt.",
  premium: "Premium", channelNumber: "Sender {n}", openShortcuts: "Tasten: Leertaste Abspielen, Pfeile Springen, F Vollbild, M Ton, C Untertitel, Esc Zurück",
  servedBy: "Bedient von", cell: "Zelle", buffer: "Puffer", gaps: "Lücken", firstFrame: "Erstes Bild", engine: "Player", none: "keine", synopsisMissing: "Keine Beschreibung.", genres: "Genres",
};

export type Lang = "en" | "de";

const TEXTS: Record<Lang, Record<Key, string>> = { en, de };
const KEPT = "eisbach.lang";

export function initialLang(search: URLSearchParams): Lang {
  const asked = search.get("lang");
  if (asked === "de" || asked === "en") return asked;
  try {
    const kept = localStorage.getItem(KEPT);
    if (kept === "de" || kept === "en") return kept;
  } catch {
    // Storage is blocked: by the browser's language, then.
  }
  return navigator.language.toLowerCase().startsWith("de") ? "de" : "en";
}

export function keepLang(lang: Lang): void {
  try {
    localStorage.setItem(KEPT, lang);
  } catch {
    // For this visit only.
  }
}

export function text(lang: Lang, key: Key, values: Record<string, string | number> = {}): string {
  return TEXTS[lang][key].replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** A name of the service's in this language, else in English, else in any. */
export function named(lang: Lang, names: Record<string, string> | undefined): string {
  return names?.[lang] ?? names?.["en"] ?? Object.values(names ?? {})[0] ?? "";
}

/** One a language: making one takes milliseconds, and what is on air is drawn again with every event of the player. */
const clocks = new Map<Lang, Intl.DateTimeFormat>();

export function clock(lang: Lang, ms: number): string {
  let format = clocks.get(lang);
  if (!format) clocks.set(lang, (format = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })));
  return format.format(ms);
}

/** 3:07 or 1:02:33. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const [h, m, rest] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60), s % 60];
  const two = (n: number): string => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(rest)}` : `${m}:${two(rest)}`;
}
