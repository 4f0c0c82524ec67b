/** Why is this so? What the supervisor knows of one target, in a dialog. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Change } from "../ui/live";
import { Changes } from "./overview";
import { State } from "./state";

interface Explained {
  target: string;
  state: string;
  sentence: string;
  because: string[];
  changes: Change[];
  next: string;
}

export function Why({ target, close }: { target: string; close: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [found, setFound] = useState<Explained | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    dialog.current?.showModal();
    fetch(`/ops/why?target=${encodeURIComponent(target)}`)
      .then(async (answer) => {
        const body = (await answer.json()) as Explained & { detail?: string };
        if (answer.ok) setFound(body);
        else setProblem(body.detail ?? `HTTP ${answer.status}`);
      })
      .catch(() => setProblem("The supervisor does not answer."));
  }, [target]);
  return (
    <dialog ref={dialog} class="why" onClose={close} onClick={(e) => e.target === dialog.current && dialog.current?.close()} aria-labelledby="why-name">
      <div class="why-body">
        <div class="head"><h2 id="why-name">{target}</h2>{found && <State state={found.state} />}</div>
        {problem !== "" && <p class="problem" role="alert">{problem}</p>}
        {found && (
          <>
            <p class="said">{found.sentence}</p>
            <ul class="because">{found.because.map((b) => <li key={b}>{b}</li>)}</ul>
            {found.changes.length > 0 && <Changes changes={found.changes.slice(0, 5)} />}
            {found.next !== "" && <p class="hint">Next: <code>{found.next}</code></p>}
          </>
        )}
        <button class="button" onClick={() => dialog.current?.close()}>Close</button>
      </div>
    </dialog>
  );
}
