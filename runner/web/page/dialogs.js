// Questions to who looks at the page.

import { keepToken } from "/page/api.js";
import { byId, say } from "/page/dom.js";

/** Ask before something is done that cannot be undone; the focus goes back to where it was. */
export function confirmed(title, text, yes) {
  const dialog = byId("ask");
  say(byId("ask-title"), title);
  say(byId("ask-text"), text);
  say(byId("ask-yes"), yes);
  return new Promise((resolve) => {
    const finish = new AbortController();
    const once = { signal: finish.signal };
    const end = (answer) => {
      finish.abort();
      dialog.close();
      resolve(answer);
    };
    byId("ask-yes").addEventListener("click", () => end(true), once);
    byId("ask-no").addEventListener("click", () => end(false), once);
    dialog.addEventListener("close", () => end(false), once);
    dialog.showModal();
    byId("ask-no").focus();
  });
}

/** Have the token entered; `wrong`: why the one of before was none. */
export function askToken(wrong) {
  const [dialog, form, field] = [byId("enter"), byId("enter-form"), byId("enter-token")];
  say(byId("enter-wrong"), wrong);
  return new Promise((resolve) => {
    const finish = new AbortController();
    const once = { signal: finish.signal };
    const open = () => {
      dialog.showModal();
      field.focus();
    };
    const take = (event) => {
      event.preventDefault();
      finish.abort();
      keepToken(field.value.trim());
      field.value = "";
      dialog.close();
      resolve();
    };
    form.addEventListener("submit", take, once);
    // Escape closes it, and there is nothing behind it yet.
    dialog.addEventListener("close", open, once);
    open();
  });
}
