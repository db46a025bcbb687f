// Makes one element's inside like another's, touching only what differs, so that focus, scrolling, selection and an
// open <details> survive. An element with `data-keep` belongs to a script: it is left as it is.

export function morph(old, fresh) {
  const wanted = [...fresh.childNodes];
  const had = [...old.childNodes];
  wanted.forEach((node, place) => {
    const present = had[place];
    if (!present) old.append(node);
    else if (!alike(present, node)) present.replaceWith(node);
    else if (present.nodeType === Node.ELEMENT_NODE) morphElement(present, node);
    else if (present.nodeValue !== node.nodeValue) present.nodeValue = node.nodeValue;
  });
  had.slice(wanted.length).forEach((node) => node.remove());
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
