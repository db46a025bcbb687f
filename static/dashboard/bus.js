// Who wants to know what happens in the page. One hearer's mistake never keeps the word from the next.

export class Bus {
  #hearers = new Map();

  on(name, hearer) {
    if (!this.#hearers.has(name)) this.#hearers.set(name, []);
    this.#hearers.get(name).push(hearer);
  }

  say(name, what) {
    for (const hearer of this.#hearers.get(name) ?? []) {
      try {
        hearer(what);
      } catch (error) {
        console.error(`A hearer of ${name} failed.`, error);
      }
    }
  }
}
