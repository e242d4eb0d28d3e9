// Keys that work everywhere on the page but in a field with text.

export function listenToKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const inText = event.target instanceof HTMLInputElement && event.target.type === "text";
    if (inText || event.target.closest?.("dialog")) return;
    const onControl = event.target.closest?.("button, input, summary");
    if (onControl && [" ", "Enter"].includes(event.key)) return; // they press the control
    const action = actionOf(event.key, actions);
    if (!action || event.repeat) return;
    event.preventDefault();
    action();
  });
}

function actionOf(key, actions) {
  if (/^[1-9]$/.test(key)) return () => actions.select(Number(key) - 1);
  const table = {
    " ": actions.hold,
    r: actions.record,
    n: actions.begin,
    Delete: actions.remove,
    Backspace: actions.remove,
    "[": actions.less,
    "]": actions.more,
    h: actions.help,
    "?": actions.help,
    Escape: actions.leave,
  };
  return table[key.length === 1 ? key.toLowerCase() : key];
}
