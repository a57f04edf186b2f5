// A Copy button at each block of code; without this script the page lacks nothing else.
for (const pre of document.querySelectorAll("pre")) {
  const block = document.createElement("div");
  const button = document.createElement("button");
  block.className = "block";
  button.type = "button";
  button.textContent = "Copy";
  pre.replaceWith(block);
  block.append(pre, button);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = "Copied";
    } catch {
      // no clipboard on a plain-http address: the text is selected, and the keys of the system copy it
      getSelection().selectAllChildren(pre);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
