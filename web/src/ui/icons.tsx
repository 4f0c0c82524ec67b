/** Icons as inline SVG: no font, no request. All are decoration; the control around them carries the label. */
import type { ComponentChildren, JSX } from "preact";

function Icon({ children, fill = false }: { children: ComponentChildren; fill?: boolean }): JSX.Element {
  return (
    <svg viewBox="0 0 24 24" aria-hidden="true" fill={fill ? "currentColor" : "none"} stroke={fill ? "none" : "currentColor"} stroke-width="2" stroke-linecap="round" stroke-linejoin="round">
      {children}
    </svg>
  );
}

export const Play = () => <Icon fill><path d="M7 4.6v14.8a1 1 0 0 0 1.5.86l12-7.4a1 1 0 0 0 0-1.72l-12-7.4A1 1 0 0 0 7 4.6Z" /></Icon>;
export const Pause = () => <Icon fill><rect x="6" y="4" width="4.4" height="16" rx="1.2" /><rect x="13.6" y="4" width="4.4" height="16" rx="1.2" /></Icon>;
export const Back10 = () => <Icon><path d="M4 4v5h5" /><path d="M4.6 9A8.5 8.5 0 1 1 3.5 13.5" /><path d="M10 11v5M13 12.5v2a1.5 1.5 0 0 0 3 0v-2a1.5 1.5 0 0 0-3 0Z" stroke-width="1.7" /></Icon>;
export const Forward10 = () => <Icon><path d="M20 4v5h-5" /><path d="M19.4 9A8.5 8.5 0 1 0 20.5 13.5" /><path d="M8.5 11v5M11.5 12.5v2a1.5 1.5 0 0 0 3 0v-2a1.5 1.5 0 0 0-3 0Z" stroke-width="1.7" /></Icon>;
export const Plus = () => <Icon><path d="M12 5v14M5 12h14" /></Icon>;
export const Check = () => <Icon><path d="m5 12.5 4.5 4.5L19 7.5" /></Icon>;
export const ArrowLeft = () => <Icon><path d="M19 12H5M11 6l-6 6 6 6" /></Icon>;
export const ChevronLeft = () => <Icon><path d="m15 5-7 7 7 7" /></Icon>;
export const ChevronRight = () => <Icon><path d="m9 5 7 7-7 7" /></Icon>;
export const Sun = () => <Icon><circle cx="12" cy="12" r="4" /><path d="M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4" /></Icon>;
export const Moon = () => <Icon><path d="M20 14.2A8.2 8.2 0 0 1 9.8 4a8.2 8.2 0 1 0 10.2 10.2Z" /></Icon>;
export const Search = () => <Icon><circle cx="11" cy="11" r="6.5" /><path d="m16 16 4.5 4.5" /></Icon>;
export const Globe = () => <Icon><circle cx="12" cy="12" r="9" /><path d="M3 12h18M12 3c2.6 2.6 3.8 5.6 3.8 9s-1.2 6.4-3.8 9c-2.6-2.6-3.8-5.6-3.8-9S9.4 5.6 12 3Z" /></Icon>;
export const Volume = () => <Icon><path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5Z" fill="currentColor" /><path d="M15.5 9a4 4 0 0 1 0 6M18 6.5a7.6 7.6 0 0 1 0 11" /></Icon>;
export const Muted = () => <Icon><path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5Z" fill="currentColor" /><path d="m16 9.5 5 5M21 9.5l-5 5" /></Icon>;
export const Captions = () => <Icon><rect x="3" y="5" width="18" height="14" rx="3" /><path d="M10.5 10.5a2 2 0 1 0 0 3M17 10.5a2 2 0 1 0 0 3" /></Icon>;
export const Audio = () => <Icon><path d="M5 10v4M9 6v12M13 9v6M17 4v16M21 10v4" /></Icon>;
export const Expand = () => <Icon><path d="M9 4H4v5M15 4h5v5M9 20H4v-5M15 20h5v-5" /></Icon>;
export const Shrink = () => <Icon><path d="M4 9h5V4M20 9h-5V4M4 15h5v5M20 15h-5v5" /></Icon>;
export const Info = () => <Icon><circle cx="12" cy="12" r="9" /><path d="M12 11v5M12 7.8v.1" /></Icon>;
export const Reload = () => <Icon><path d="M20 5v5h-5" /><path d="M19.5 10A8 8 0 1 0 20 14" /></Icon>;
export const Heart = () => <Icon><path d="M3 12h4l2.5-6 4 12 2.5-6h5" /></Icon>;
export const Bolt = () => <Icon fill><path d="M13.4 2.2 4.6 13a.8.8 0 0 0 .6 1.3h5l-1 7.2c-.1.8.9 1.2 1.4.6L19.4 11a.8.8 0 0 0-.6-1.3h-5l1-6.9c.1-.8-.9-1.2-1.4-.6Z" /></Icon>;

export const Mark = () => (
  <svg viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="9" fill="#0b7a75" />
    <path d="M5 19.5c3.2 0 3.8-7 8.4-7 5 0 4.6 7 9 7 2.4 0 3.6-1.4 4.6-3" fill="none" stroke="#e9fffb" stroke-width="3" stroke-linecap="round" />
    <path d="M5 25c3.2 0 4.6-3 8.4-3s4.6 3 9 3c2.4 0 3.6-1 4.6-2" fill="none" stroke="#8fe3da" stroke-width="2.2" stroke-linecap="round" />
  </svg>
);
