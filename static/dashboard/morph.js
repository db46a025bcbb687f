// Makes one element's inside like another's, touching only what differs, so that focus, scrolling, selection and an
// open <details> survive. What has an id is known by it, wherever it moves. An element with `data-keep` belongs to a
// script: it is left as it is.

export function morph(old, fresh) {
  const wanted = [...fresh.childNodes];
  const kept = new Set(wanted.map((node) => node.id).filter(Boolean));
  const known = new Map([...old.children].filter((had) => had.id).map((had) => [had.id, had]));
  wanted.forEach((node, place) => {
    const moved = known.get(node.id);
    if (moved && old.childNodes[place] !== moved) old.insertBefore(moved, old.childNodes[place] ?? null);
    const present = old.childNodes[place];
    if (!present) old.append(node);
    else if (alike(present, node)) update(present, node);
    else if (kept.has(present.id)) old.insertBefore(node, present); // it comes later
    else present.replaceWith(node);
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

function update(present, node) {
  if (present.nodeType === Node.ELEMENT_NODE) morphElement(present, node);
  else if (present.nodeValue !== node.nodeValue) present.nodeValue = node.nodeValue;
}

function alike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;
}

function morphElement(old, fresh) {
  if (old.dataset && "keep" in old.dataset && "keep" in fresh.dataset) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, fresh);
}
